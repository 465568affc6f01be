// The EXIF orientation of WebP pictures: the service applies it, browsers do not.

// WebP Container Specification, "Extended File Format"; EXIF 2.32, tag 0x0112.
const [WEBP, VP8X, EXIF] = [0x57454250, 0x56503858, 0x45584946];
const HAS_EXIF = 0x08;
const ORIENTATION = 0x0112;

/** Whether `blob` is a WebP that has to be turned or mirrored before it is upright. */
export async function hasExifOrientation(blob) {
  try {
    const head = await viewOf(blob.slice(0, 21));
    if (head.getUint32(8) !== WEBP || head.getUint32(12) !== VP8X) return false;
    if (!(head.getUint8(20) & HAS_EXIF)) return false;
    const orientation = orientationIn(exifIn(await viewOf(blob)));
    return orientation > 1 && orientation < 9;
  } catch {
    return false; // too short or damaged: the service does not turn it either
  }
}

async function viewOf(blob) {
  return new DataView(await blob.arrayBuffer());
}

/** Throws a RangeError where there is none. */
function exifIn(data) {
  let at = 12;
  while (data.getUint32(at) !== EXIF) {
    const size = data.getUint32(at + 4, true);
    at += 8 + size + (size % 2);
  }
  const label = data.getUint32(at + 8) === 0x45786966 ? 6 : 0; // "Exif\0\0", as in a JPEG
  return new DataView(data.buffer, at + 8 + label);
}

function orientationIn(exif) {
  const little = exif.getUint16(0) === 0x4949;
  const list = exif.getUint32(4, little);
  const count = exif.getUint16(list, little);
  for (let entry = list + 2; entry < list + 2 + 12 * count; entry += 12) {
    if (exif.getUint16(entry, little) === ORIENTATION) return exif.getUint16(entry + 8, little);
  }
  return 1;
}
