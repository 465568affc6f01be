// Thumbnails: a tile for each picture, with its state, upload progress and number of objects.

const STATE_LABELS = {
  waiting: 'waiting', shrinking: 'being made smaller', uploading: 'uploading', queued: 'queued',
  processing: 'processing', done: 'done', failed: 'failed', cancelled: 'cancelled',
};

/** Dispatches `pick` with an item when its tile is chosen. */
export class Thumbnails extends EventTarget {
  constructor(list) {
    super();
    this.list = list;
    this.tiles = new Map(); // by item
    list.addEventListener('click', ({ target }) => this.pick(target.closest('button')));
    list.addEventListener('keydown', (event) => this.onArrowKey(event));
  }

  /** Show `items`; those in `changed` anew. `counts(item)` says how many boxes are shown. */
  show(items, changed, chosen, counts) {
    const present = new Set(items);
    for (const item of this.tiles.keys()) {
      if (present.has(item)) continue;
      this.tiles.get(item).parentElement.remove();
      this.tiles.delete(item);
    }
    const fresh = items.filter((item) => !this.tiles.has(item));
    this.list.append(...fresh.map((item) => this.tile(item)));
    const stale = changed ? new Set([...changed, ...fresh]) : items;
    for (const item of stale) if (this.tiles.has(item)) update(this.tiles.get(item), item, counts);
    for (const [item, tile] of this.tiles) mark(tile, item === chosen);
  }

  tile(item) {
    const place = document.createElement('li');
    const tile = document.createElement('button');
    tile.type = 'button';
    tile.dataset.item = item.id;
    tile.dataset.name = item.name;
    const badge = document.createElement('span');
    badge.className = 'badge';
    const bar = document.createElement('span');
    bar.className = 'upload-bar';
    tile.append(badge, bar);
    place.append(tile);
    this.tiles.set(item, tile);
    return place;
  }

  pick(tile) {
    const found = [...this.tiles].find(([, one]) => one === tile);
    if (found) this.dispatchEvent(new CustomEvent('pick', { detail: found[0] }));
  }

  /** Arrow keys go from picture to picture. */
  onArrowKey(event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const tiles = [...this.tiles.values()];
    const next = tiles[tiles.indexOf(document.activeElement) + by];
    if (!by || !next) return;
    event.preventDefault();
    next.focus();
    this.pick(next);
  }
}

function update(tile, item, counts) {
  const count = counts(item);
  const more = item.state === 'failed' ? `: ${item.error.title}` : '';
  const objects = item.state === 'done' ? `, ${count} ${count === 1 ? 'object' : 'objects'}` : '';
  const label = `${item.name}, ${STATE_LABELS[item.state]}${more}${objects}`;
  // Writing what is there already costs a layout, and there may be hundreds.
  if (tile.ariaLabel !== label) {
    tile.dataset.state = item.state;
    tile.ariaLabel = label;
    tile.title = item.name + more;
  }
  const [badge, bar] = tile.querySelectorAll('span');
  const text = String(badgeOf(item, count));
  if (badge.textContent !== text) badge.textContent = text;
  bar.style.inlineSize = `${100 * (item.state === 'uploading' ? item.progress : 0)}%`;
  const picture = tile.querySelector('img');
  if (item.undisplayable) picture?.remove();
  if (!item.url || item.undisplayable || picture?.src === item.url) return;
  picture?.remove(); // of an address that cannot be shown
  tile.prepend(thumbnail(item));
}

function badgeOf(item, count) {
  switch (item.state) {
    case 'uploading': return `${Math.round(100 * item.progress)} %`;
    case 'queued': return item.position ? `#${item.position + 1}` : 'queued';
    case 'processing': return '…';
    case 'done': return count;
    case 'failed': return '!';
    case 'cancelled': return '–';
    default: return '';
  }
}

function thumbnail(item) {
  const picture = document.createElement('img');
  picture.alt = '';
  picture.decoding = 'async';
  picture.loading = 'lazy';
  picture.width = 88;
  picture.height = 66;
  picture.addEventListener('error', () => {
    if (picture.src === item.address) item.undisplayable = true; // else there is a preview by now
    picture.remove();
  });
  picture.src = item.url;
  return picture;
}

function mark(tile, chosen) {
  const tabIndex = chosen ? 0 : -1; // a roving tabindex: arrow keys do the rest
  if (tile.tabIndex !== tabIndex) tile.tabIndex = tabIndex;
  if (chosen) tile.setAttribute('aria-current', 'true');
  else tile.removeAttribute('aria-current');
}
