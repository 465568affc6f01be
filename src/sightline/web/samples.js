// Sample pictures, for who has none at hand.

const SAMPLES = [
  { file: 'toys.webp', name: 'Toys', demo: true },
  { file: 'street.webp', name: 'Street' },
  { file: 'table.webp', name: 'Table' },
];

/** Offer those that the model can know; `add` gets the file of one that is clicked. */
export function offerSamples(list, isDemo, add) {
  const offered = SAMPLES.filter(({ demo = false }) => demo === isDemo);
  list.replaceChildren(...offered.map((sample) => buttonOf(sample, add)));
}

function buttonOf({ file, name }, add) {
  const place = document.createElement('li');
  const button = document.createElement('button');
  button.type = 'button';
  const picture = document.createElement('img');
  picture.src = `samples/${file}`;
  picture.alt = '';
  picture.loading = 'lazy';
  picture.width = 108;
  picture.height = 72;
  button.append(picture, name);
  button.addEventListener('click', async () => {
    const answer = await fetch(picture.src);
    add([new File([await answer.blob()], file, { type: 'image/webp' })]);
  });
  place.append(button);
  return place;
}
