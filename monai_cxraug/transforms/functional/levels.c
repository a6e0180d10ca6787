/* The inner loops of histograms and look-up tables, in plain C99.
 *
 * The caller (levels.py) answers for every bound: arrays are contiguous and as large as the sizes say. Sums are taken as
 * the same module takes them with torch, without fused multiply-add, so that both give the same bits.
 */

#include <stdint.h>
#include <stdlib.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#ifndef CXRAUG_SOURCE
#define CXRAUG_SOURCE "unknown"
#endif

/* Where the compiler can make a function twice and choose when the library is loaded: with wider registers too. */
#if defined(__x86_64__) && defined(__linux__) && defined(__has_attribute)
#if __has_attribute(target_clones)
#define WIDE __attribute__((target_clones("avx2", "default")))
#endif
#endif
#ifndef WIDE
#define WIDE
#endif

/* Names the source that this library was compiled from: compiled.py refuses any other. */
EXPORT const char cxraug_source[] = "cxraug-kernels-source:" CXRAUG_SOURCE;

enum { DONE = 0, NO_MEMORY = -1 };

/* ---- Contrast-limited adaptive histogram equalisation: look-up tables of tiles, blended
 *
 * `levels` holds each pixel's level, `tables` one brightness a level of `down` times `across` tiles. Between the middles
 * of four tiles their answers are blended; beyond the outermost middles the nearest answer alone counts.
 */

typedef struct {
    int32_t first, second; /* tiles */
    float share;           /* of the second */
} Between;

static void place(Between *between, int64_t pixels, int64_t tile, int64_t tiles) {
    for (int64_t k = 0; k < pixels; k++) {
        const float at = (float)k * (1.0f / (float)tile) - 0.5f;
        const int64_t first = at < 0 ? -1 : (int64_t)at;
        between[k].share = at - (float)first;
        between[k].first = (int32_t)(first < 0 ? 0 : first);
        between[k].second = (int32_t)(first + 1 < tiles ? first + 1 : tiles - 1);
    }
}

EXPORT WIDE int cxraug_blend_tables(const uint8_t *levels, float *out, int64_t count, int64_t height, int64_t width,
                                    const float *tables, int64_t down, int64_t across, int64_t tile_height,
                                    int64_t tile_width) {
    Between *rows = malloc((size_t)(height + width) * sizeof *rows), *columns = rows + height;
    if (!rows) return NO_MEMORY;
    place(rows, height, tile_height, down);
    place(columns, width, tile_width, across);
    for (int64_t k = 0; k < count; k++) {
        const float *table = tables + k * down * across * 256;
        for (int64_t y = 0; y < height; y++) {
            const float *upper = table + rows[y].first * across * 256, *below = table + rows[y].second * across * 256;
            const float share = rows[y].share;
            const int64_t start = (k * height + y) * width;
            for (int64_t x = 0; x < width; x++) {
                const int64_t a = columns[x].first * 256 + levels[start + x];
                const int64_t b = columns[x].second * 256 + levels[start + x];
                const float part = columns[x].share;
                const float top = upper[a] * (1 - part) + upper[b] * part;
                const float bottom = below[a] * (1 - part) + below[b] * part;
                out[start + x] = (top * (1 - share) + bottom * share) / 255;
            }
        }
    }
    free(rows);
    return DONE;
}

/* From how often each level occurs in a tile to the level that it becomes: counts are cut at `limit`, what is cut off is
 * spread evenly, and the rest of that goes to every step-th level; then sums of counts, scaled and rounded. */
EXPORT WIDE void cxraug_clip_tables(const int32_t *counts, float *tables, int64_t tiles, int32_t limit, float scale) {
    const float whole = 12582912; /* as in cxraug_to_levels */
    for (int64_t t = 0; t < tiles; t++, counts += 256, tables += 256) {
        int32_t cut[256], over = 0;
        for (int k = 0; k < 256; k++) over += counts[k] > limit ? counts[k] - limit : 0;
        for (int k = 0; k < 256; k++) cut[k] = (counts[k] < limit ? counts[k] : limit) + over / 256;
        const int32_t rest = over % 256, step = rest ? 256 / rest : 256;
        for (int32_t n = 0; n < rest; n++) cut[n * step]++;
        int32_t sum = 0;
        for (int k = 0; k < 256; k++) {
            sum += cut[k];
            const float level = (float)sum * scale + whole - whole;
            tables[k] = level < 255 ? level : 255;
        }
    }
}

/* How often each of 256 levels occurs in each tile; the tiles are whole, and `counts` is filled with zeros. Neighbours are
 * often of one level, and a count that was just written would be waited for: four pixels have counts of their own. */
EXPORT void cxraug_count_levels(const uint8_t *levels, int32_t *counts, int64_t count, int64_t height, int64_t width,
                                int64_t tile_height, int64_t tile_width) {
    for (int64_t top = 0; top < count * height; top += tile_height)
        for (int64_t left = 0; left < width; left += tile_width, counts += 256) {
            int32_t own[4][256] = {{0}};
            for (int64_t y = top; y < top + tile_height; y++) {
                const uint8_t *row = levels + y * width + left;
                int64_t x = 0;
                for (; x + 4 <= tile_width; x += 4)
                    for (int k = 0; k < 4; k++) own[k][row[x + k]]++;
                for (; x < tile_width; x++) own[0][row[x]]++;
            }
            for (int k = 0; k < 256; k++) counts[k] = own[0][k] + own[1][k] + own[2][k] + own[3][k];
        }
}

/* ---- Levels and tables of whole images */

/* The nearest of 256 levels of values in [0, 1], others cut; half-way values go to the even level. */
EXPORT WIDE void cxraug_to_levels(const float *values, uint8_t *levels, int64_t count) {
    const float whole = 12582912; /* 1.5 * 2^23: added, it leaves no room for fractions */
    for (int64_t k = 0; k < count; k++) {
        const float value = (values[k] > 0 ? values[k] < 1 ? values[k] : 1 : 0) * 255;
        levels[k] = (uint8_t)(int32_t)(value + whole - whole);
    }
}

/* Replace levels by the values of each image's table. */
EXPORT void cxraug_look_up(const uint8_t *levels, float *out, int64_t count, int64_t pixels, const float *tables) {
    for (int64_t k = 0; k < count; k++)
        for (int64_t x = 0; x < pixels; x++) out[k * pixels + x] = tables[k * 256 + levels[k * pixels + x]];
}

/* ---- One image after the other through all steps, while it is in the cache; levels or, with `floating`, values in [0, 1] */

static const uint8_t *levels_of(const void *images, int floating, int64_t k, int64_t pixels, uint8_t *own) {
    if (!floating) return (const uint8_t *)images + k * pixels;
    cxraug_to_levels((const float *)images + k * pixels, own, pixels);
    return own;
}

/* The tiles are whole. */
EXPORT int cxraug_equalise_tiles(const void *images, int floating, float *out, int64_t count, int64_t height,
                                 int64_t width, int64_t tiles, int32_t limit, float scale) {
    const int64_t pixels = height * width, entries = tiles * tiles * 256;
    float *tables = malloc((size_t)entries * (sizeof *tables + sizeof(int32_t)) + (size_t)pixels);
    if (!tables) return NO_MEMORY;
    int32_t *counts = (int32_t *)(tables + entries);
    uint8_t *own = (uint8_t *)(counts + entries);
    int done = DONE;
    for (int64_t k = 0; k < count && done == DONE; k++) {
        const uint8_t *levels = levels_of(images, floating, k, pixels, own);
        cxraug_count_levels(levels, counts, 1, height, width, height / tiles, width / tiles);
        cxraug_clip_tables(counts, tables, tiles * tiles, limit, scale);
        done = cxraug_blend_tables(levels, out + k * pixels, 1, height, width, tables, tiles, tiles, height / tiles,
                                   width / tiles);
    }
    free(tables);
    return done;
}

/* Each level becomes the share of the pixels beyond the darkest level that are as dark or darker. `out` is of the kind of
 * `images`. */
EXPORT int cxraug_equalise(const void *images, int floating, void *out, int64_t count, int64_t pixels) {
    const double whole = 6755399441055744.0; /* 1.5 * 2^52: added, it leaves no room for fractions */
    uint8_t *own = malloc((size_t)pixels + 1);
    if (!own) return NO_MEMORY;
    for (int64_t k = 0; k < count; k++) {
        const uint8_t *levels = levels_of(images, floating, k, pixels, own);
        int32_t counts[256];
        cxraug_count_levels(levels, counts, 1, 1, pixels, 1, pixels);
        float values[256];
        uint8_t bytes[256];
        int64_t sum = 0, darkest = 0;
        for (int v = 0; v < 256; v++) {
            sum += counts[v];
            if (!darkest) darkest = counts[v];
            const int64_t beyond = pixels - darkest > 1 ? pixels - darkest : 1;
            const double share = (double)(sum > darkest ? sum - darkest : 0) / (double)beyond;
            values[v] = (float)share;
            bytes[v] = (uint8_t)(share * 255 + whole - whole);
        }
        if (darkest == pixels) /* an image of one value stays */
            for (int v = 0; v < 256; v++) values[v] = (float)(v / 255.0), bytes[v] = (uint8_t)v;
        if (floating)
            cxraug_look_up(levels, (float *)out + k * pixels, 1, pixels, values);
        else
            for (int64_t x = 0; x < pixels; x++) ((uint8_t *)out)[k * pixels + x] = bytes[levels[x]];
    }
    free(own);
    return DONE;
}
