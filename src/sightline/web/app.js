// The entry point of the page: creates its parts and connects them.

import { createApi } from './api.js';
import { enableExports, wireExports } from './export-buttons.js';
import { wireFileInputs } from './file-inputs.js';
import { Filters } from './filters.js';
import { Progress } from './progress.js';
import { offerSamples } from './samples.js';
import { Service } from './service.js';
import { mountStatusBar } from './status-bar.js';
import { TaskList } from './task-list.js';
import { Thumbnails } from './thumbnails.js';
import { wireViewSwitch } from './view-switch.js';
import { Viewer } from './viewer.js';

const byId = (id) => document.getElementById(id);
const api = createApi();
const service = new Service(api, byId('service'), byId('key-dialog'));
const taskList = new TaskList(service);
const thumbnails = new Thumbnails(byId('thumbnails'));
const filters = new Filters(byId('confidence'), byId('classes'));
const progress = new Progress(byId('progress'));
const viewer = new Viewer(byId('stage'), byId('objects'), byId('count'), service, refresh);
const shrinkFirst = byId('shrink-first');
let chosen = null;

// Showing: at most once a frame, and of the thumbnails only what has changed

let changed = new Set();
let scheduled = false;

function refresh(item) {
  if (item && changed) changed.add(item);
  else changed = null; // all of it
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    show();
  });
}

function show() {
  const refreshed = changed;
  changed = new Set(); // what is refreshed meanwhile is for the next frame
  const { items } = taskList;
  if (!items.includes(chosen)) chosen = items[0] ?? null;
  thumbnails.show(items, refreshed, chosen, (one) => filters.of(one).length);
  const found = items.reduce((sum, one) => sum + filters.of(one).length, 0);
  progress.show(items, found);
  if (!refreshed || refreshed.has(chosen)) viewer.show(chosen, filters);
  if (!refreshed || [...refreshed].some(({ state }) => state === 'done')) filters.show(items);
  enableExports(items, chosen);
  showFailures(items);
}

function showFailures(items) {
  const failed = items.filter(({ state }) => state === 'failed');
  const box = byId('failures');
  box.hidden = !failed.length;
  box.querySelector('ul').replaceChildren(...failed.map(({ name, error }) => {
    const line = document.createElement('li');
    const title = document.createElement('b');
    title.textContent = name;
    line.append(title, ` ${error.title}. ${error.detail}`);
    return line;
  }));
}

// Doing

function add(files) {
  if (!files.length) return;
  const [first] = taskList.add(files, { shrinkFirst: shrinkFirst.checked });
  if (!chosen || chosen.ended) chosen = first;
  refresh();
}

function storeTasksInAddress() {
  const { fragments } = taskList;
  const hash = fragments.length ? `#tasks=${fragments.join(',')}` : '';
  history.replaceState(null, '', location.pathname + location.search + hash);
}

function tasksInAddress() {
  const found = /^#tasks?=([0-9a-f,-]+)$/.exec(location.hash);
  return found ? found[1].split(',').filter((one) => /^[0-9a-f]{32}(-[0-9a-f]+)?$/.test(one)) : [];
}

function readSetting(name, fallback) {
  try {
    return localStorage.getItem(name) ?? fallback;
  } catch {
    return fallback; // closed to pages in some frames
  }
}

function saveSetting(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // for this page only, then
  }
}

taskList.addEventListener('change', ({ detail }) => refresh(detail));
taskList.addEventListener('tasks', storeTasksInAddress);
filters.addEventListener('change', () => refresh());
thumbnails.addEventListener('pick', ({ detail }) => {
  chosen = detail;
  refresh();
});
service.addEventListener('ready', () => {
  filters.setDefaultConfidence(service.health.confidence);
  offerSamples(byId('samples').querySelector('ul'), Boolean(service.health.notice), add);
});
progress.cancel.addEventListener('click', () => taskList.cancel());
progress.retry.addEventListener('click', () => taskList.retry(shrinkFirst.checked));
progress.clear.addEventListener('click', () => {
  taskList.clear();
  byId('pick').focus();
});
shrinkFirst.checked = readSetting('sightline-small', '') === 'yes';
shrinkFirst.addEventListener('change', () => saveSetting('sightline-small', shrinkFirst.checked ? 'yes' : ''));
wireExports(() => ({ items: taskList.items, item: chosen, filters, api }));
wireViewSwitch(api);
wireFileInputs(add, (name, problem) => taskList.refuse(name, problem));
addEventListener('beforeunload', (event) => {
  if (taskList.hasUnsent) event.preventDefault(); // the browser asks, then
});
addEventListener('hashchange', () => {
  if (tasksInAddress().length) location.reload();
  else storeTasksInAddress(); // a link within the page was followed
});

byId('docs').href = api.url('/docs');
if (api.foreign) {
  byId('foreign-service').hidden = false;
  byId('foreign-service').textContent = `Pictures are sent to ${api.base}`;
}
if (api.problem) byId('show-camera').disabled = true;
else mountStatusBar(byId('status-bar'), service);

taskList.restore(tasksInAddress());
service.start();
