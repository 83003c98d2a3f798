"""The physics process: `python -m lyra.worldgen.sim.physx_worker JOB.json RESULT.json [PARENT_PID]`.

Exit codes: 0 measured, 3 PhysX is not installed, anything else it failed. Progress is printed as `progress DONE TOTAL`
lines; whatever else PhysX prints is for the log.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..core.errors import DependencyError
from .child_process import die_with_parent, installed, peak_mib, print_progress
from .physx_job import DriveResult, PhysxJob, PhysxResult
from .physx_session import PhysxSession
from .physx_testbed import track_m, wheel_radius_m, write_testbed

STEP_S = 1 / 60
CONTROL_EVERY = 3
SPEED_M_S = 0.8
TURN_RAD_S = 2.5
LOOKAHEAD_M = 0.3
GOAL_M = 0.25
TOUCH_N = 15.0
"""Horizontal force on the body that counts as a collision [N]; bumps of the casters stay below."""
STUCK_S = 4.0


def measure(job: PhysxJob, workdir: Path, progress: Callable[[int, int], None]) -> PhysxResult:
    """Run the whole job; the test stage is written to `workdir`."""
    timings: dict[str, float] = {}
    started = time.perf_counter()
    rays, spheres, shapes = {}, {}, 0
    # The world alone first: nothing that the test adds can stand in the way of a ray.
    with PhysxSession(Path(job.scene)) as session:
        timings |= session.timings_s
        shapes = session.shape_count()
        tick = time.perf_counter()
        total = len(job.rays) + len(job.spheres) + 1
        for i, (name, (origins, directions)) in enumerate(job.rays.items()):
            both = name not in job.one_sided
            rays[name] = session.raycast(origins, directions, limit_m=job.ray_limit_m, both_sides=both)
            progress(i + 1, total * 2)
        for name, (centres, radius_m) in job.spheres.items():
            spheres[name] = session.overlaps(centres, radius_m)
        timings["queries"] = time.perf_counter() - tick
    progress(1, 2)
    bodies = _Bodies(job)
    steps = 0
    if job.drops or job.shots or job.drives:
        testbed = workdir / "testbed.usda"
        write_testbed(testbed, job)
        tick = time.perf_counter()
        with PhysxSession(testbed) as session:
            steps = bodies.run(session, progress)
        timings["simulate"] = time.perf_counter() - tick
    moved = turned = pushed = np.zeros(0)
    if job.objects:
        tick = time.perf_counter()
        with PhysxSession(Path(job.scene)) as session:
            moved, turned, pushed = _watch(session, job)
        timings["objects"] = time.perf_counter() - tick
    timings["total"] = time.perf_counter() - started
    return PhysxResult(
        rays=rays,
        spheres=spheres,
        **bodies.results(),
        object_moved_m=moved,
        object_turned_rad=turned,
        object_pushed_m=pushed,
        versions=installed("ovphysx", "ovstage", "physx-usd-schemas"),
        timings_s=timings,
        counts={"collision_shapes": shapes, "steps": steps, "peak_mib": peak_mib()},
    )


def _watch(session: PhysxSession, job: PhysxJob) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave the world's bodies alone, then push them: ways [K] [m], turns [K] [rad], ways after the push [K] [m]."""
    poses, speeds = session.binding(job.objects, "RIGID_BODY_POSE"), session.binding(job.objects, "RIGID_BODY_VELOCITY")
    start = poses.read()
    moved, turned = np.zeros(len(start)), np.zeros(len(start))
    for _ in range(round(job.watch_s / STEP_S)):
        session.step(STEP_S)
        pose = poses.read()
        moved = np.maximum(moved, np.linalg.norm(pose[:, :3] - start[:, :3], axis=1))
        turn = np.abs((pose[:, 3:] * start[:, 3:]).sum(1)).clip(max=1.0)
        turned = np.maximum(turned, 2 * np.arccos(turn))
    before = poses.read()
    push = np.zeros((len(start), 6))
    push[:, 0] = job.push_m_s
    speeds.write(push)
    for _ in range(round(1.0 / STEP_S)):
        session.step(STEP_S)
    return moved, turned, np.linalg.norm(poses.read()[:, :3] - before[:, :3], axis=1)


class _Bodies:
    """Everything that moves: samples drops and shots, lets the robots drive."""

    def __init__(self, job: PhysxJob) -> None:
        self._job = job
        d, s = len(job.drops), len(job.shots)
        self._drop_z = np.full(d, math.inf)
        self._drop_speed = np.zeros(d)
        self._forces: list[np.ndarray] = []
        self._drop_end = np.zeros((d, 3))
        self._shot_lo, self._shot_hi = np.full((s, 3), math.inf), np.full((s, 3), -math.inf)
        self._shot_end = np.zeros((s, 3))
        self._drives: tuple[DriveResult, ...] = ()

    def run(self, session: PhysxSession, progress: Callable[[int, int], None]) -> int:
        """Step until bodies have settled and every robot has arrived or given up; returns the number of steps."""
        job = self._job
        drop_pose = session.binding("/Test/drop_*", "RIGID_BODY_POSE") if job.drops else None
        drop_velocity = session.binding("/Test/drop_*", "RIGID_BODY_VELOCITY") if job.drops else None
        drop_force = session.contact_forces("/Test/drop_*") if job.drops else None
        shot_pose = session.binding("/Test/shot_*", "RIGID_BODY_POSE") if job.shots else None
        fleet = _Fleet(session, job) if job.drives else None
        settle = round(job.settle_s / STEP_S)
        limit = max([settle, *(round(d.limit_s / STEP_S) for d in job.drives)])
        step = 0
        for step in range(1, limit + 1):
            session.step(STEP_S)
            if drop_pose is not None and drop_velocity is not None and step <= settle:
                position = drop_pose.read()[:, :3]
                self._drop_z = np.minimum(self._drop_z, position[:, 2])
                self._drop_speed = np.maximum(self._drop_speed, np.linalg.norm(drop_velocity.read()[:, :3], axis=1))
                self._drop_end = position
                if drop_force is not None and step > settle - 60:
                    self._forces.append(drop_force()[:, 2])
            if shot_pose is not None and (step <= settle or step % 6 == 0):
                self._shot_end = shot_pose.read()[:, :3]
                self._shot_lo = np.minimum(self._shot_lo, self._shot_end)
                self._shot_hi = np.maximum(self._shot_hi, self._shot_end)
            if fleet is not None and step % CONTROL_EVERY == 0:
                fleet.control(step * STEP_S)
            if step % 30 == 0:
                progress(limit + step, 2 * limit)
            if step >= settle and (fleet is None or fleet.done):
                break
        if fleet is not None:
            self._drives = fleet.results()
        return step

    def results(self) -> dict:
        """The part of `PhysxResult` that moves."""
        forces = np.mean(self._forces, 0) if self._forces else np.zeros(len(self._job.drops))
        return {
            "drop_end_m": self._drop_end,
            "drop_lowest_m": self._drop_z,
            "drop_fastest_m_s": self._drop_speed,
            "drop_force_n": forces,
            "shot_end_m": self._shot_end,
            "shot_lowest_m": self._shot_lo[:, 2],
            "shot_lo_m": self._shot_lo,
            "shot_hi_m": self._shot_hi,
            "drives": self._drives,
        }


class _Fleet:
    """All robots of a job."""

    def __init__(self, session: PhysxSession, job: PhysxJob) -> None:
        # The pattern names robots, not links: an articulation answers for its root.
        self._root_pose = session.binding("/Test/robot_*", "ARTICULATION_ROOT_POSE")
        self._targets = session.binding("/Test/robot_*", "ARTICULATION_DOF_VELOCITY_TARGET")
        self._touch = session.contact_forces("/Test/robot_*/base")
        self._left = self._targets.dof_names().index("joint_l")
        self._robot = job.robot
        self._pilots = [_Pilot(job, i) for i in range(len(job.drives))]

    @property
    def done(self) -> bool:
        return all(pilot.done for pilot in self._pilots)

    def control(self, now_s: float) -> None:
        """Read where everybody is and set the wheels."""
        poses, forces = self._root_pose.read(), self._touch()
        command = np.zeros((len(self._pilots), 2))
        for i, pilot in enumerate(self._pilots):
            v, w = pilot.steer(poses[i], forces[i], now_s)
            half = w * track_m(self._robot) / 2
            command[i, self._left] = (v - half) / wheel_radius_m(self._robot)
            command[i, 1 - self._left] = (v + half) / wheel_radius_m(self._robot)
        self._targets.write(command)

    def results(self) -> tuple[DriveResult, ...]:
        return tuple(pilot.result() for pilot in self._pilots)


class _Pilot:
    """Pure pursuit of one route (Coulter 1992), turning on the spot when the route lies behind."""

    def __init__(self, job: PhysxJob, index: int) -> None:
        drive = job.drives[index]
        self._route = _resample(np.array(drive.route_xy_m, float), 0.05)
        self._limit_s = drive.limit_s
        self._axle_z = job.floor_z_m + wheel_radius_m(job.robot)
        self._at = 0
        self._trace: list[np.ndarray] = []
        self._touches, self._last_touch_s = 0, -math.inf
        self._best_at, self._best_s = 0, 0.0
        self._lowest_z, self._tilt = math.inf, 0.0
        self._seconds = 0.0
        self._turning = False
        self.done = self.reached = False

    def steer(self, pose: np.ndarray, force: np.ndarray, now_s: float) -> tuple[float, float]:
        """Forward [m/s] and turning speed [rad/s] for a root pose (x, y, z, qx, qy, qz, qw) and its contact force."""
        if self.done:
            return 0.0, 0.0
        x, y, z, qx, qy, qz, qw = pose
        here = np.array([x, y])
        yaw = math.atan2(2 * (qw * qz + qx * qy), 1 - 2 * (qy * qy + qz * qz))
        up_z = 1 - 2 * (qx * qx + qy * qy)
        self._seconds = now_s
        self._lowest_z = min(self._lowest_z, z - self._axle_z)
        self._tilt = max(self._tilt, math.acos(max(-1.0, min(1.0, up_z))))
        if not self._trace or len(self._trace) * 0.1 <= now_s:
            self._trace.append(here)
        if math.hypot(force[0], force[1]) > TOUCH_N:
            if now_s - self._last_touch_s > 0.5:
                self._touches += 1
            self._last_touch_s = now_s
        self._advance(here)
        if self._at > self._best_at:
            self._best_at, self._best_s = self._at, now_s
        if np.linalg.norm(self._route[-1] - here) < GOAL_M:
            self._stop(here, reached=True)
            return 0.0, 0.0
        if now_s > self._limit_s or now_s - self._best_s > STUCK_S or z < self._axle_z - 0.5 or up_z < 0.5:
            self._stop(here, reached=False)
            return 0.0, 0.0
        return self._pursue(here, yaw)

    def _pursue(self, here: np.ndarray, yaw: float) -> tuple[float, float]:
        ahead = self._route[min(self._at + round(LOOKAHEAD_M / 0.05), len(self._route) - 1)]
        dx, dy = ahead - here
        bearing = (math.atan2(dy, dx) - yaw + math.pi) % (2 * math.pi) - math.pi
        # Hysteresis keeps the robot from trembling between turning and driving.
        self._turning = abs(bearing) > (0.3 if self._turning else 0.9)
        if self._turning:
            return 0.0, math.copysign(min(TURN_RAD_S, 3 * abs(bearing)), bearing)
        curvature = 2 * math.sin(bearing) / max(math.hypot(dx, dy), 0.1)
        v = min(SPEED_M_S, TURN_RAD_S / max(abs(curvature), 1e-6))
        v = min(v, 0.2 + 1.5 * float(np.linalg.norm(self._route[-1] - here)))
        return v, v * curvature

    def _advance(self, here: np.ndarray) -> None:
        """Move to the nearest point of the next metre of the route; never backwards."""
        window = self._route[self._at : self._at + 20]
        self._at += int(np.argmin(np.linalg.norm(window - here, axis=1)))

    def _stop(self, here: np.ndarray, *, reached: bool) -> None:
        self._trace.append(here)
        self.done, self.reached = True, reached

    def result(self) -> DriveResult:
        trace = np.array(self._trace).reshape(-1, 2)
        return DriveResult(
            reached=self.reached,
            driven_m=float(np.linalg.norm(np.diff(trace, axis=0), axis=1).sum()),
            collisions=self._touches,
            seconds=self._seconds,
            trace_xy_m=trace,
            lowest_z_m=self._lowest_z,
            tilt_rad=self._tilt,
        )


def _resample(route_xy_m: np.ndarray, step_m: float) -> np.ndarray:
    """Points every `step_m` along a polyline, [K, 2], K >= 2."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(route_xy_m, axis=0), axis=1))])
    at = np.linspace(0, length[-1], max(2, round(length[-1] / step_m) + 1))
    return np.stack([np.interp(at, length, route_xy_m[:, k]) for k in range(2)], -1)


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code."""
    if len(argv) > 2:
        die_with_parent(int(argv[2]))
    job_path, result_path = Path(argv[0]), Path(argv[1])
    try:
        result = measure(PhysxJob.load(job_path), job_path.parent, print_progress)
    except DependencyError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    result.save(result_path)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # PhysX's own shutdown hooks have crashed interpreters; the result is on disk, so leave without them.
    os._exit(code)
