// Images side by side, at a whole multiple of their pixels, with one zoom, window and level for all of them.

const FULL = 255; // window of an 8-bit image that shows every value as it is
const MIDDLE = 127.5;

/** The largest whole multiple of device pixels that fits, or the smallest whole fraction. */
export function fittingScale(size, width, height, ratio) {
  const scale = Math.min((width * ratio) / size.width, (height * ratio) / size.height);
  return scale >= 1 ? Math.floor(scale) : 1 / Math.ceil(1 / Math.max(scale, 1 / 64));
}

export class Viewer {
  /** Args: canvases; and whether the reader may change window and zoom. */
  constructor(canvases, adjustable = true) {
    this.canvases = canvases;
    this.bitmaps = [];
    this.pixels = [];
    this.scale = 1;
    this.onChange = () => {};
    this.pointers = new Map(); // of all canvases, since two fingers may rest on two of them
    this.gesture = "";
    this.reset();
    if (adjustable) canvases.forEach((canvas) => this.#listen(canvas));
  }

  /** Forget what the reader changed. */
  reset() {
    Object.assign(this, { zoom: 1, x: 0.5, y: 0.5, window: FULL, level: MIDDLE, changes: 0, zooms: 0, pans: 0, touch: 0 });
    this.draw();
  }

  /** Back to how the image is by itself; what was done before stays counted. */
  restore() {
    Object.assign(this, { zoom: 1, x: 0.5, y: 0.5, window: FULL, level: MIDDLE });
    this.draw();
  }

  /** Take images, one for each canvas; resize() draws them. */
  load(bitmaps) {
    this.bitmaps = [];
    this.reset();
    this.bitmaps = bitmaps;
    this.pixels = [];
  }

  /** Size of the images; before there are any, a square. */
  get size() {
    return this.bitmaps[0] ?? { width: 256, height: 256 };
  }

  /** Give every canvas a size in which the images' pixels are whole. */
  resize(scale, ratio) {
    this.scale = scale;
    this.canvases.forEach((canvas, index) => {
      const { width, height } = this.bitmaps[index] ?? this.size;
      const [across, down] = [Math.round(width * scale), Math.round(height * scale)];
      if (canvas.width !== across) canvas.width = across; // even an equal value makes a new picture of it
      if (canvas.height !== down) canvas.height = down;
      canvas.style.width = `${canvas.width / ratio}px`;
      canvas.style.height = `${canvas.height / ratio}px`;
    });
    this.draw();
  }

  /** Draw all images. */
  draw() {
    if (this.hidden) return;
    this.canvases?.forEach((canvas, index) => {
      if (this.bitmaps[index]) this.#drawOne(canvas, index);
    });
    this.onChange?.();
  }

  /** Show nothing, whatever happens to the page, until an image is revealed. */
  hide() {
    this.hidden = true;
    for (const canvas of this.canvases) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  }

  /** Show an image in the only canvas. */
  reveal(bitmap) {
    this.hidden = false;
    this.bitmaps = [bitmap];
    this.pixels = [];
    this.draw();
  }

  /** What the reader looked at and did, for the record. */
  record() {
    const { zoom, level, changes, zooms, pans, scale, touch } = this;
    const round = (value) => Math.round(value * 100) / 100;
    return {
      width: this.canvases[0].clientWidth, height: this.canvases[0].clientHeight, scale: round(scale),
      zoom: round(zoom), window: round(this.window), level: round(level),
      window_changes: changes, zooms, pans, touch,
    };
  }

  /** Change window and level by steps of the keyboard, or pixels of a drag. */
  adjust(window, level) {
    this.window = Math.min(512, Math.max(4, this.window + window));
    this.level = Math.min(FULL, Math.max(0, this.level + level));
    this.draw();
  }

  /** Zoom about a point of the canvas, given as fractions of it. */
  zoomBy(factor, fx = 0.5, fy = 0.5) {
    const zoom = Math.min(16, Math.max(1, this.zoom * factor));
    this.x += (fx - 0.5) * (1 / this.zoom - 1 / zoom);
    this.y += (fy - 0.5) * (1 / this.zoom - 1 / zoom);
    this.zoom = zoom;
    this.#keepInside();
    this.draw();
  }

  #pan(dx, dy) {
    this.x -= dx / this.zoom;
    this.y -= dy / this.zoom;
    this.#keepInside();
    this.draw();
  }

  #keepInside() {
    const margin = 0.5 / this.zoom;
    this.x = Math.min(1 - margin, Math.max(margin, this.x));
    this.y = Math.min(1 - margin, Math.max(margin, this.y));
  }

  #drawOne(canvas, index) {
    const { width, height } = this.bitmaps[index];
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = this.scale * this.zoom < 1; // enlarged pixels stay what they are
    context.imageSmoothingQuality = "high";
    const [w, h] = [width / this.zoom, height / this.zoom];
    const source = this.window === FULL && this.level === MIDDLE ? this.bitmaps[index] : this.#windowed(index);
    context.drawImage(source, this.x * width - w / 2, this.y * height - h / 2, w, h, 0, 0, canvas.width, canvas.height);
  }

  #windowed(index) {
    const { width, height } = this.bitmaps[index];
    this.pixels[index] ??= readPixels(this.bitmaps[index]);
    const { values, canvas } = this.pixels[index];
    const table = new Uint8ClampedArray(256);
    for (let value = 0; value < 256; value += 1) {
      table[value] = ((value - this.level + this.window / 2) / this.window) * 255;
    }
    const image = new ImageData(width, height);
    for (let at = 0; at < values.length; at += 4) {
      image.data[at] = table[values[at]];
      image.data[at + 1] = table[values[at + 1]];
      image.data[at + 2] = table[values[at + 2]];
      image.data[at + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  #listen(canvas) {
    const { pointers } = this;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zooms += 1;
      this.zoomBy(1.15 ** (-event.deltaY / 100), event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture?.(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (event.pointerType === "touch") this.touch = 1;
      this.gesture = pointers.size > 1 ? "two" : event.button === 2 || heldW ? "window" : "pan";
      if (this.gesture === "window") this.changes += 1;
      if (this.gesture === "pan" && this.zoom > 1) this.pans += 1;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
      const other = [...pointers.entries()].find(([id]) => id !== event.pointerId)?.[1];
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (this.gesture === "window") this.adjust(dx, dy);
      else if (this.gesture === "pan") this.#pan(dx / canvas.clientWidth, dy / canvas.clientHeight);
      else if (other) this.gesture = this.#twoFingers(canvas, this.gesture, before, pointers.get(event.pointerId), other);
    });
    const release = (event) => {
      pointers.delete(event.pointerId);
      this.gesture = "";
      this.startDistance = this.moved = undefined;
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
  }

  /** Two fingers that part or meet zoom; two that move together change window and level. The first clear one stays. */
  #twoFingers(canvas, gesture, before, now, other) {
    if (gesture === "two") {
      this.startDistance ??= Math.hypot(before.x - other.x, before.y - other.y);
      this.moved = (this.moved ?? 0) + Math.hypot(now.x - before.x, now.y - before.y);
      const parted = Math.abs(Math.hypot(now.x - other.x, now.y - other.y) - this.startDistance);
      if (parted < 24 && this.moved < 48) return "two";
      this.startDistance = this.moved = undefined;
      if (parted >= 24) this.zooms += 1;
      else this.changes += 1;
      return parted >= 24 ? "pinch" : "together";
    }
    if (gesture === "together") this.adjust((now.x - before.x) / 2, (now.y - before.y) / 2);
    if (gesture === "pinch") {
      const factor = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
      const box = canvas.getBoundingClientRect();
      this.zoomBy(factor, ((now.x + other.x) / 2 - box.x) / box.width, ((now.y + other.y) / 2 - box.y) / box.height);
    }
    return gesture;
  }
}

let heldW = false;
document.addEventListener("keydown", (event) => {
  if (event.code === "KeyW") heldW = true;
});
document.addEventListener("keyup", (event) => {
  if (event.code === "KeyW") heldW = false;
});
window.addEventListener("blur", () => {
  heldW = false;
});

function readPixels(bitmap) {
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return { canvas, values: context.getImageData(0, 0, bitmap.width, bitmap.height).data };
}
