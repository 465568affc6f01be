// Downscales large photographs before they are uploaded.

import { hasExifOrientation } from './exif.js';
import { toJpeg } from './jpeg.js';

export const LONGEST = 1920; // pixels of the longer side
const QUALITY = 0.9;

/**
 * What to send of a file, and how large the upright picture in it is.
 *
 * Answers `{blob, width, height}`; `blob` is the file itself where it is small enough, and sizes
 * are null where this browser cannot read it as the service does.
 */
export async function shrink(file) {
  const bitmap = (await hasExifOrientation(file)) ? null : await createImageBitmap(file).catch(() => null);
  if (!bitmap) return { blob: file, width: null, height: null };
  const { width, height } = bitmap;
  const scale = LONGEST / Math.max(width, height);
  const [wide, high] = [width, height].map((size) => Math.max(1, Math.round(size * scale)));
  const blob = scale < 1 ? await toJpeg(bitmap, wide, high, QUALITY) : null;
  bitmap.close();
  return { blob: blob && blob.size < file.size ? blob : file, width, height };
}
