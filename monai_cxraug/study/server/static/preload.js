// Images of the next trials are fetched and decoded while the reader still looks at this one.

import { getBlob } from "./api.js";

const waiting = new Map();
let leaving = new AbortController();

/** Begin to fetch the images of trials, and forget those of trials that are over. */
export function preload(trials) {
  const first = trials[0]?.position ?? 0;
  for (const [position, images] of waiting) {
    if (position < first) {
      images.then((bitmaps) => Object.values(bitmaps).forEach((one) => one.close()), () => {});
      waiting.delete(position);
    }
  }
  for (const trial of trials) {
    if (!waiting.has(trial.position)) {
      const images = fetchAll(trial);
      images.catch(() => waiting.delete(trial.position)); // it is fetched anew when it is needed
      waiting.set(trial.position, images);
    }
  }
}

/** The images of a trial by their place, decoded. */
export function imagesOf(trial) {
  if (!waiting.has(trial.position)) preload([trial]);
  return waiting.get(trial.position);
}

/** Forget everything: another reader may sit here next. */
export function forget() {
  leaving.abort();
  leaving = new AbortController();
  waiting.clear();
}

async function fetchAll(trial) {
  const bitmaps = await Promise.all(trial.images.map(async (place) => {
    const blob = await getBlob(`/api/image/${trial.position}/${place}`, leaving.signal);
    return createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  }));
  return Object.fromEntries(trial.images.map((place, index) => [place, bitmaps[index]]));
}
