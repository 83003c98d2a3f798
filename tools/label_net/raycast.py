"""Analytic ray caster for procedural scenes: boxes, cylinders, ellipsoids, a floor and a ceiling, procedural materials.

World: z up, floor z = 0, the camera stands at (0, 0, h). Everything is decided by the scene and its seed; no state.
"""

from __future__ import annotations

import math

import numba  # noqa: TID253 - the caster is compiled; training tool
import numpy as np

FLOOR, WALL, CEILING, OBJECT, SKY = range(5)
BOX, CYLINDER, ELLIPSOID = range(3)
(PLAIN, TILE, PLANK, BRICK, STRIPE, NOISE, FACADE, WAINSCOT, POSTER, STONES, SHELF, CORRUGATED) = range(12)
PRIM_WIDTH = 12
"""kind, centre x y z, half size x y z, cos yaw, sin yaw, material, label, unused."""
MATERIAL_WIDTH = 20
"""kind, A rgb, B rgb, C rgb, scale u v, rotation, noise amount, noise scale, gloss, emission, seed, p1, p2."""
LIGHT_WIDTH = 7
"""x y z, rgb, reach."""
ENV_WIDTH = 24
"""ceiling height (0: open), floor material, ceiling material, sun direction 3, sun rgb 3, ambient up 3, ambient down 3,
sky low rgb 3, sky high rgb 3, clouds."""

_F = {"cache": True, "fastmath": True}


@numba.njit(**_F)
def _hash(x):
    x = numba.uint32(x)
    x ^= x >> numba.uint32(16)
    x *= numba.uint32(0x7FEB352D)
    x ^= x >> numba.uint32(15)
    x *= numba.uint32(0x846CA68B)
    return x ^ (x >> numba.uint32(16))


@numba.njit(**_F)
def _cell(i, j, seed):
    """Uniform number of a lattice cell."""
    inner = _hash(numba.uint32(j) * numba.uint32(19349663) ^ numba.uint32(seed))
    return (_hash(numba.uint32(i) * numba.uint32(73856093) ^ inner) & numba.uint32(0xFFFFFF)) / 16777216.0


@numba.njit(**_F)
def _value_noise(x, y, seed):
    i, j = math.floor(x), math.floor(y)
    a, b = x - i, y - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    i, j = int(i), int(j)
    p, q = _cell(i, j, seed), _cell(i + 1, j, seed)
    r, s = _cell(i, j + 1, seed), _cell(i + 1, j + 1, seed)
    low, high = p + (q - p) * a, r + (s - r) * a
    return low + (high - low) * b


@numba.njit(cache=True, fastmath=True)
def _fractal(x, y, seed, footprint):
    """Four octaves of noise, those finer than the pixel's footprint faded to their mean."""
    value, weight, frequency, total = 0.0, 0.5, 1.0, 0.0
    for octave in range(4):
        sharp = min(max(1.0 - footprint * frequency, 0.0), 1.0)
        if sharp > 0.0:
            value += weight * (0.5 + (_value_noise(x * frequency, y * frequency, seed + octave) - 0.5) * sharp)
        else:
            value += weight * 0.5
        total += weight
        weight *= 0.5
        frequency *= 2.1
    return value / total


@numba.njit(cache=True, fastmath=True)
def _texture(m, u, v, z, upright, footprint, out):
    """Albedo of material `m` at surface coordinates u, v and height z [m]; footprint is a pixel's size there."""
    kind, seed = int(m[0]), int(m[17])
    c, s = math.cos(m[12]), math.sin(m[12])
    if upright:
        uu, vv = u, z
    else:
        uu, vv = u * c - v * s, u * s + v * c
    x, y = uu / m[10], vv / m[11]
    fine = footprint / min(m[10], m[11])
    keep = min(max(1.0 - 1.2 * fine, 0.0), 1.0)
    i, j = math.floor(x), math.floor(y)
    a, b = x - i, y - j
    mix, joint = 0.0, 0.0
    p1, p2 = m[18], m[19]
    direct = False
    if kind == TILE:
        mix = float((i + j) & 1) if p1 > 0.5 else _cell(i, j, seed) * p2
        mix = 0.5 * p2 + (mix - 0.5 * p2) * keep
        joint = keep if a < 0.04 or b < 0.04 else 0.0
    elif kind == PLANK:
        along = x / 6.0 + 6.0 * _cell(j, 7, seed)
        i = math.floor(along)
        mix = 0.6 * (0.3 + 0.7 * _cell(i, j, seed + 1)) + 0.4 * _fractal(uu * 1.5, vv * 14.0, seed + 2, footprint * 10)
        mix = 0.55 + (mix - 0.55) * keep
        joint = 0.8 * keep if b < 0.05 or along - i < 0.008 else 0.0
    elif kind == BRICK:
        shifted = x + 0.5 * (j & 1)
        i = math.floor(shifted)
        mix = 0.5 + (_cell(i, j, seed) - 0.5) * keep
        joint = 0.15 + ((1.0 if shifted - i < 0.06 or b < 0.12 else 0.0) - 0.15) * keep
    elif kind == STRIPE:
        mix = p1 + ((1.0 if a < p1 else 0.0) - p1) * keep
    elif kind == NOISE:
        t = (_fractal(x, y, seed, fine) - 0.5 + p1) / max(2.0 * p1, 1e-3)
        mix = min(max(t, 0.0), 1.0)
    elif kind == FACADE:
        window = abs(a - 0.5) < 0.5 * p1 and abs(b - 0.5) < 0.5 * p2 and y > 0.3
        frame = abs(a - 0.5) < 0.5 * p1 + 0.05 and abs(b - 0.5) < 0.5 * p2 + 0.05 and y > 0.3
        if window or frame:
            shine = 0.3 + 1.2 * _cell(i, j, seed)
            for q in range(3):
                out[q] = m[7 + q] * shine if window and abs(a - 0.5) > 0.015 else m[4 + q]
            direct = True
    elif kind == WAINSCOT:
        mix = 1.0 if vv < p1 else 0.0
        joint = p2 if vv < 0.1 or abs(vv - p1) < 0.03 else 0.0
    elif kind == POSTER:
        if _cell(i, j, seed) < p1:
            w, h = 0.2 + 0.6 * _cell(i, j, seed + 1), 0.2 + 0.6 * _cell(i, j, seed + 2)
            if abs(a - 0.5) < 0.5 * w and abs(b - 0.5) < 0.5 * h:
                for q in range(3):
                    n = _fractal(a * 4, b * 4, seed + i * 31 + j * 17 + q, fine * 4)
                    out[q] = 0.5 * _cell(i * 3 + q, j, seed + 3) + 0.6 * n * _cell(i, j * 3 + q, seed + 4)
                direct = True
    elif kind == STONES:
        near, second, bi, bj = 9.0, 9.0, 0, 0
        for di in range(-1, 2):
            for dj in range(-1, 2):
                px = i + di + _cell(i + di, j + dj, seed) - x
                py = j + dj + _cell(i + di, j + dj, seed + 9) - y
                d = px * px + py * py
                if d < near:
                    second, near, bi, bj = near, d, i + di, j + dj
                elif d < second:
                    second = d
        mix = 0.5 + (_cell(bi, bj, seed + 5) - 0.5) * keep
        joint = 0.2 + ((1.0 if math.sqrt(second) - math.sqrt(near) < 0.1 else 0.0) - 0.2) * keep
    elif kind == SHELF:
        along = x * (0.7 + 0.6 * _cell(j, 3, seed))
        i = math.floor(along)
        if b >= 0.08:
            empty = b > 0.5 + 0.45 * _cell(i, j, seed) or along - i < 0.05 or _cell(i, j, seed + 8) < 0.1
            for q in range(3):
                goods = (0.2 + 0.8 * _cell(i * 3 + q, j, seed + 6)) * (
                    0.4 * m[1 + q] + 0.6 * (m[4 + q] if p1 > 0.5 else 1)
                )
                out[q] = 0.3 * m[7 + q] if empty else goods
            direct = True
    elif kind == CORRUGATED:
        mix = 0.5 + 0.5 * math.sin(x * 6.2832) * keep
    if not direct:
        for q in range(3):
            base = m[1 + q] + (m[4 + q] - m[1 + q]) * mix
            out[q] = base + (m[7 + q] - base) * joint
    if m[13] > 0:
        grain = _fractal(uu * m[14], vv * m[14], seed + 77, footprint * m[14]) - 0.5
        stain = _fractal(uu * m[14] * 0.13, vv * m[14] * 0.13, seed + 78, footprint * m[14] * 0.13) - 0.5
        gain = max(1.0 + 2.0 * m[13] * (grain + 1.2 * stain), 0.1)
        for q in range(3):
            out[q] *= gain


@numba.njit(cache=True, fastmath=True)
def _trace(prims, ceiling, ox, oy, oz, dx, dy, dz, limit):
    """Distance and index of the nearest hit: primitive, -1 nothing, -2 floor, -3 ceiling."""
    best, index = limit, -1
    if dz < -1e-6 and -oz / dz < best and -oz / dz > 1e-3:
        best, index = -oz / dz, -2
    if ceiling > 0 and dz > 1e-6 and (ceiling - oz) / dz < best and (ceiling - oz) / dz > 1e-3:
        best, index = (ceiling - oz) / dz, -3
    inverse_z = 1.0 / (dz if abs(dz) > 1e-9 else 1e-9)
    for k in range(len(prims)):
        p = prims[k]
        rx, ry, rz = ox - p[1], oy - p[2], oz - p[3]
        c, s = p[7], p[8]
        lx, ly = rx * c + ry * s, -rx * s + ry * c
        ex, ey = dx * c + dy * s, -dx * s + dy * c
        hx, hy, hz = p[4], p[5], p[6]
        if p[0] == BOX:
            ix, iy = 1.0 / (ex + 1e-12), 1.0 / (ey + 1e-12)
            ax, ay, az = -lx * ix, -ly * iy, -rz * inverse_z
            wx, wy, wz = abs(ix) * hx, abs(iy) * hy, abs(inverse_z) * hz
            enter = max(ax - wx, ay - wy, az - wz)
            leave = min(ax + wx, ay + wy, az + wz)
            if 1e-3 < enter < leave and enter < best:
                best, index = enter, k
        elif p[0] == CYLINDER:
            a, b = ex * ex + ey * ey, lx * ex + ly * ey
            disc = b * b - a * (lx * lx + ly * ly - hx * hx)
            if disc > 0 and a > 1e-9:
                t = (-b - math.sqrt(disc)) / a
                if 1e-3 < t < best and abs(rz + t * dz) < hz:
                    best, index = t, k
            if dz < 0:
                t = (hz - rz) * inverse_z
                x, y = lx + t * ex, ly + t * ey
                if 1e-3 < t < best and x * x + y * y < hx * hx:
                    best, index = t, k
        else:
            fx, fy, fz = lx / hx, ly / hy, rz / hz
            gx, gy, gz = ex / hx, ey / hy, dz / hz
            a, b = gx * gx + gy * gy + gz * gz, gx * fx + gy * fy + gz * fz
            disc = b * b - a * (fx * fx + fy * fy + fz * fz - 1.0)
            if disc > 0:
                t = (-b - math.sqrt(disc)) / a
                if 1e-3 < t < best:
                    best, index = t, k
    return best, index


@numba.njit(cache=True, fastmath=True)
def _surface(prims, env, index, x, y, z, out):
    """Normal (out 0..2), u, v (3, 4), material (5), label (6) and uprightness (7) of a hit."""
    if index < 0:
        out[0], out[1], out[2] = 0.0, 0.0, 1.0 if index == -2 else -1.0
        out[3], out[4], out[7] = x, y, 0.0
        out[5], out[6] = (env[1], FLOOR) if index == -2 else (env[2], CEILING)
        return
    p = prims[index]
    c, s = p[7], p[8]
    rx, ry, rz = x - p[1], y - p[2], z - p[3]
    lx, ly = rx * c + ry * s, -rx * s + ry * c
    nx, ny, nz = 0.0, 0.0, 0.0
    upright = 1.0
    u, v = lx, z
    if p[0] == BOX:
        qx, qy, qz = abs(abs(lx) - p[4]), abs(abs(ly) - p[5]), abs(abs(rz) - p[6])
        if qx < qy and qx < qz:
            nx, u = (1.0 if lx > 0 else -1.0), ly
        elif qy < qz:
            ny = 1.0 if ly > 0 else -1.0
        else:
            nz, v, upright = (1.0 if rz > 0 else -1.0), ly, 0.0
    elif p[0] == CYLINDER:
        if abs(rz) > p[6] - 1e-3:
            nz, v, upright = 1.0, ly, 0.0
        else:
            nx, ny, u = lx / p[4], ly / p[4], math.atan2(ly, lx) * p[4]
    else:
        nx, ny, nz = lx / p[4] ** 2, ly / p[5] ** 2, rz / p[6] ** 2
        length = math.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz, u = nx / length, ny / length, nz / length, math.atan2(ly, lx) * p[4]
    out[0], out[1], out[2] = nx * c - ny * s, nx * s + ny * c, nz
    out[3], out[4], out[5], out[6], out[7] = u, v, p[9], p[10], upright


@numba.njit(cache=True, fastmath=True)
def _shade(prims, materials, lights, env, o, d, pixel, travelled, key, depth, rgb, scratch):
    """Light of one ray into rgb [3]; returns hit distance (0: sky) and label. Depth 1 is a mirrored ray."""
    t, index = _trace(prims, env[0], o[0], o[1], o[2], d[0], d[1], d[2], 1e9)
    if index == -1:
        length = math.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
        z = max(d[2] / length, 0.0)
        high = z**0.6
        cloud = 0.0
        if env[21] > 0 and z > 0.01:
            u, v = d[0] / (d[2] + 0.1 * length), d[1] / (d[2] + 0.1 * length)
            n = _fractal(u * env[21], v * env[21], int(env[21] * 1000), 0.0)
            cloud = min(max((n - env[22]) / 0.25, 0.0), 1.0)
        for q in range(3):
            clear = env[15 + q] + (env[18 + q] - env[15 + q]) * high
            rgb[q] = clear + (env[23] - clear) * cloud
        return 0.0, SKY
    x, y, z = o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]
    hit = scratch[depth]
    _surface(prims, env, index, x, y, z, hit)
    nx, ny, nz, label = hit[0], hit[1], hit[2], int(hit[6])
    m = materials[int(hit[5])]
    length = math.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
    facing = (d[0] * nx + d[1] * ny + d[2] * nz) / length
    footprint = (travelled + t) * length * pixel / math.sqrt(max(abs(facing), 0.02))
    albedo = scratch[2 + depth]
    _texture(m, hit[3], hit[4], z, hit[7] > 0.5, footprint, albedo)
    if m[16] > 0:
        for q in range(3):
            rgb[q] = albedo[q] * m[16]
        return t, label
    px, py, pz = x + 2e-3 * nx, y + 2e-3 * ny, z + 2e-3 * nz
    occlusion = 1.0
    if depth == 0:
        h = _hash(key)
        rx = (h & numba.uint32(1023)) / 511.5 - 1.0
        ry = ((h >> numba.uint32(10)) & numba.uint32(1023)) / 511.5 - 1.0
        rz = ((h >> numba.uint32(20)) & numba.uint32(1023)) / 511.5 - 1.0
        reach = 1.2 if env[0] > 0 else 3.0
        wx, wy, wz = nx + 0.7 * rx, ny + 0.7 * ry, nz + 0.7 * rz
        s, found = _trace(prims, env[0], px, py, pz, wx, wy, wz, reach)
        if found != -1:
            occlusion = 0.25 + 0.75 * min(s / reach, 1.0)
    up = 0.5 + 0.5 * nz
    light = scratch[4 + depth]
    for q in range(3):
        light[q] = (env[9 + q] * up + env[12 + q] * (1.0 - up)) * occlusion
    sun = nx * env[3] + ny * env[4] + nz * env[5]
    if sun > 0 and env[6] + env[7] > 0:
        _, blocker = _trace(prims, 0.0, px, py, pz, env[3], env[4], env[5], 1e9)
        if blocker == -1:
            for q in range(3):
                light[q] += env[6 + q] * sun
    for k in range(len(lights)):
        lx, ly, lz = lights[k, 0] - px, lights[k, 1] - py, lights[k, 2] - pz
        square = lx * lx + ly * ly + lz * lz
        toward = lx * nx + ly * ny + lz * nz
        if toward > 0:
            gain = toward / math.sqrt(square) / (1.0 + square / lights[k, 6] ** 2)
            if gain > 0.02:
                if k == 0 and depth == 0:
                    _, blocker = _trace(prims, 0.0, px, py, pz, lx, ly, lz, 0.98)
                    if blocker >= 0:
                        continue
                for q in range(3):
                    light[q] += lights[k, 3 + q] * gain
    for q in range(3):
        rgb[q] = albedo[q] * light[q]
    return t, label


@numba.njit(cache=True, fastmath=True)
def _shade_glossy(prims, materials, lights, env, o, d, pixel, key, rgb, scratch):
    """`_shade` of a camera ray with one mirrored ray where the surface is glossy."""
    t, label = _shade(prims, materials, lights, env, o, d, pixel, 0.0, key, 0, rgb, scratch)
    if label == SKY:
        return t, label
    hit = scratch[0]
    gloss = materials[int(hit[5])][15]
    if gloss > 0 and materials[int(hit[5])][16] == 0:
        length = math.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
        facing = (d[0] * hit[0] + d[1] * hit[1] + d[2] * hit[2]) / length
        bounce, origin, mirrored = scratch[6], scratch[7], scratch[8]
        for q in range(3):
            origin[q] = o[q] + t * d[q] + 2e-3 * hit[q]
            bounce[q] = d[q] / length - 2.0 * facing * hit[q]
        share = gloss * (0.15 + 0.85 * (1.0 - abs(facing)) ** 3)
        _shade(prims, materials, lights, env, origin, bounce, pixel, t * length, key, 1, mirrored, scratch)
        for q in range(3):
            rgb[q] = rgb[q] * (1.0 - 0.7 * share) + share * mirrored[q]
    return t, label


@numba.njit(cache=True, fastmath=True)
def render(prims, materials, lights, env, R, height_m, f_px, width, height, samples, seed):
    """Linear colour [H, W, 3], depth along the optical axis [H, W] (0: sky) and labels [H, W].

    Args:
        prims: [N, 12]; materials: [M, 20]; lights: [L, 7]; env: [24]; see the constants above.
        R: [3, 3] takes camera coordinates (x right, y down, z forward) to the world.
        height_m: camera height.
        f_px: focal length.
        width, height: picture size.
        samples: 1 to 4 rays per pixel.
        seed: noise of the occlusion rays.
    """
    offsets = np.array([[0.5, 0.5], [0.15, 0.85], [0.85, 0.2], [0.3, 0.1]])
    colour = np.zeros((height, width, 3), np.float32)
    depth = np.zeros((height, width), np.float32)
    labels = np.zeros((height, width), np.uint8)
    o, d, rgb, scratch = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros((9, 8))
    o[2] = height_m
    for row in range(height):
        for col in range(width):
            for k in range(samples):
                x = (col + offsets[k, 0] - 0.5 * width) / f_px
                y = (row + offsets[k, 1] - 0.5 * height) / f_px
                for q in range(3):
                    d[q] = R[q, 0] * x + R[q, 1] * y + R[q, 2]
                key = seed + (row * width + col) * 4 + k
                t, label = _shade_glossy(prims, materials, lights, env, o, d, 0.5 / f_px, key, rgb, scratch)
                for q in range(3):
                    colour[row, col, q] += min(rgb[q], 6.0) / samples
                if k == 0:
                    depth[row, col] = t
                    labels[row, col] = label
    return colour, depth, labels
