'use strict';
const byId = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
const KEPT = 300; // points of a plot, one every two seconds at most
const samples = new Map(); // member -> [[time, lag bytes], …]
let cluster = null, here = null, lastNews = 0, asked = '';

// Texts come from members and the store: they only ever become text nodes.
function element(tag, attributes = {}, ...children) {
  const svg = ['svg', 'path', 'rect', 'text', 'g'].includes(tag);
  const e = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== '') e.setAttribute(key, value);
  e.append(...children);
  return e;
}

function setText(e, text) {
  if (e.textContent !== text) e.textContent = text; // or screen readers say it again
}

function bytes(n) {
  if (typeof n !== 'number') return 'unknown';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

const isLeader = (m) => m.role === 'leader' || m.role === 'standby_leader';
const isWell = (m) => m.state === 'streaming' || (m.state === 'running' && isLeader(m));
const word = (text) => text.replaceAll('_', ' ');

function sample() {
  const now = Date.now();
  for (const m of cluster.members) {
    const points = samples.get(m.name) || [];
    const lag = here && here.name === m.name && typeof here.lag === 'number' ? here.lag : m.lag;
    if (!isLeader(m) && typeof lag === 'number' && (!points.length || now - points[points.length - 1][0] >= 1900)) {
      points.push([now, lag]);
      if (points.length > KEPT) points.shift();
    }
    samples.set(m.name, points);
  }
}

function plot(m) {
  const points = samples.get(m.name) || [];
  if (points.length < 2) return element('p', { class: 'address' }, 'The lag over time shows here in a moment.');
  const begin = points[0][0], span = Math.max(points[points.length - 1][0] - begin, 1);
  const top = Math.max(...points.map((p) => p[1])), scale = Math.max(top, 1024);
  const xy = points.map(([t, lag]) => `${((t - begin) / span * 200).toFixed(1)},${(46 - lag / scale * 42).toFixed(1)}`);
  const minutes = span < 90000 ? `${Math.round(span / 1000)} s` : `${Math.round(span / 60000)} min`;
  return element('figure', { class: 'plot' },
    element('svg', { viewBox: '0 0 200 48', preserveAspectRatio: 'none', role: 'img', 'aria-label': `Lag of ${m.name} over ${minutes}, at most ${bytes(top)}` },
      element('path', { class: 'area', d: `M0,48 L${xy.join(' L')} L200,48 Z` }),
      element('path', { class: 'line', d: `M${xy.join(' L')}` })),
    element('figcaption', {}, `Lag over ${minutes}, at most ${bytes(top)}`));
}

function card(m) {
  const facts = element('dl');
  const fact = (name, value, kind = '') => facts.append(element('dt', {}, name), element('dd', { class: kind }, value));
  fact('State', m.state || 'unknown', isWell(m) ? 'good' : 'bad-text');
  fact('Timeline', String(m.timeline ?? 'unknown'));
  if (!isLeader(m)) {
    fact('Lag', bytes(m.lag), typeof m.lag === 'number' ? '' : 'warn');
    fact('Replayed to', String(m.replay_lsn ?? m.lsn ?? 'unknown'));
  }
  if (m.pending_restart) fact('Restart', 'pending: ' + (Object.keys(m.pending_restart_reason || {}).join(', ') || 'yes'), 'warn');
  if (m.scheduled_restart) fact('Restart at', String(m.scheduled_restart.schedule), 'warn');
  const tags = Object.entries(m.tags || {}).map(([key, value]) => `${key}=${value}`).join(', ');
  if (tags) fact('Tags', tags);
  const a = element('article', { class: (isLeader(m) ? 'leader ' : '') + (isWell(m) ? '' : 'bad') },
    element('h3', {}, m.name, element('span', { class: 'badge' }, word(m.role))),
    element('p', { class: 'address' }, m.host ? `${m.host}:${m.port}` : 'no address'), facts);
  if (!isLeader(m)) a.append(plot(m));
  return a;
}

function topology() {
  const leader = cluster.members.find(isLeader), others = cluster.members.filter((m) => m !== leader);
  const wide = 150, gap = 24, width = Math.max(others.length * (wide + gap) - gap, wide) + 8;
  const height = leader && others.length ? 186 : 70, svg = element('svg', { viewBox: `0 0 ${width} ${height}`, width, height, 'aria-hidden': 'true' });
  const box = (m, x, y) => svg.append(
    element('rect', { class: `box ${isLeader(m) ? 'leader' : ''} ${isWell(m) ? '' : 'bad'}`, x, y, width: wide, height: 58, rx: 10 }),
    element('text', { x: x + wide / 2, y: y + 26, 'text-anchor': 'middle' }, m.name.length > 16 ? m.name.slice(0, 15) + '…' : m.name),
    element('text', { x: x + wide / 2, y: y + 45, 'text-anchor': 'middle', class: 'sub' }, isLeader(m) ? word(m.role) : m.state || 'unknown'));
  const y = leader ? 122 : 6, middle = width / 2;
  others.forEach((m, i) => {
    const x = (width - (others.length * (wide + gap) - gap)) / 2 + i * (wide + gap);
    if (leader) svg.append(element('path', { class: `link ${isWell(m) ? '' : 'bad'}`, d: `M${middle},64 C${middle},96 ${x + wide / 2},90 ${x + wide / 2},122` }));
    box(m, x, y);
  });
  if (leader) box(leader, middle - wide / 2, 6);
  byId('topology').replaceChildren(svg);
  byId('topology').setAttribute('aria-label', (leader ? `${leader.name} leads` : 'nobody leads') + others.map((m) => `; ${m.name} is ${m.state || 'unknown'}`).join(''));
}

function summary() {
  const leader = cluster.members.find(isLeader), sick = cluster.members.filter((m) => !isWell(m)), notices = [];
  const n = cluster.members.length;
  setText(byId('headline'), !leader ? 'No member leads this cluster now.' :
    sick.length ? `${leader.name} leads; not well: ${sick.map((m) => m.name).join(', ')}.` :
    `${leader.name} leads, and all ${n} member${n === 1 ? ' is' : 's are'} well.`);
  document.querySelector('.summary').classList.toggle('trouble', !leader || sick.length > 0);
  if (cluster.pause) notices.push('Maintenance mode is on: nothing happens by itself.');
  if (here && !here.dcs) notices.push('The distributed configuration store cannot be reached; this is the last that was known.');
  const s = cluster.scheduled_switchover;
  if (s) notices.push(`Switchover${s.to ? ' to ' + s.to : ''} scheduled at ${s.at}.`);
  for (const m of cluster.members) if (m.pending_restart) notices.push(`${m.name} waits for a restart.`);
  if (byId('notices').textContent !== notices.join('')) byId('notices').replaceChildren(...notices.map((text) => element('li', {}, text)));
}

function showCluster() {
  sample();
  document.title = `${cluster.scope} · pgvigil`;
  setText(byId('scope'), cluster.scope);
  summary();
  topology();
  byId('cards').replaceChildren(...cluster.members.map(card));
  const state = cluster.members.map((m) => `${m.name} ${m.role} ${m.timeline}`).join();
  if (state !== asked) { asked = state; loadHistory(); }
}

function showHere() {
  setText(byId('member'), here.name);
  const facts = [['Member', here.name], ['State', here.state], ['Role', word(here.role) + (here.leader ? ', holds the leader key' : '')],
    ['Timeline', String(here.timeline)], ['Last cycle', here.status || here.why]];
  if (typeof here.lag === 'number') facts.push(['Lag', bytes(here.lag)]);
  if (here.job) facts.push(['Under way', `${here.job.name}, since ${here.job.seconds} s`]);
  byId('here').replaceChildren(...facts.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]));
}

async function json(path) {
  const answer = await fetch(path, { cache: 'no-store' });
  return answer.ok ? answer.json() : null;
}

async function loadHistory() {
  const list = await json('history').catch(() => null);
  if (!Array.isArray(list) || !list.length) return;
  byId('history').replaceChildren(...list.slice(-50).reverse().map(([timeline, , reason, at, leader]) => element('tr', {},
    element('td', {}, String(timeline)), element('td', {}, at ? at.slice(0, 19).replace('T', ' ') : ''),
    element('td', {}, leader || ''), element('td', {}, reason || ''))));
}

// What the recorder keeps; a member without one answers with an error, and the section stays away.
async function loadDecisions() {
  const got = await json('decisions?last=20').catch(() => null);
  const list = Array.isArray(got) ? got : got && Array.isArray(got.decisions) ? got.decisions : null;
  byId('decisions-section').hidden = !list || !list.length;
  if (!list) return;
  byId('decisions').replaceChildren(...list.slice().reverse().map((d) => {
    const at = d.time || d.at || d.wall || '', why = d.why || d.reason || '', what = d.text || d.status || d.effect || d.what || '';
    return element('li', {}, element('time', {}, String(at).slice(11, 23) || String(at)),
      element('span', {}, [what, why && `(${word(String(why))})`].filter(Boolean).join(' ')));
  }));
}

function connection(kind, text) {
  byId('connection').className = kind;
  setText(byId('connection-text'), text);
}

let decisionsDue = 0;
function news() {
  lastNews = Date.now();
  connection('live', 'live');
  if (!decisionsDue) decisionsDue = setTimeout(() => { decisionsDue = 0; loadDecisions(); }, 500);
}

const source = new EventSource('events');
source.addEventListener('cluster', (e) => { cluster = JSON.parse(e.data); news(); showCluster(); });
source.addEventListener('member', (e) => { here = JSON.parse(e.data); news(); showHere(); if (cluster) summary(); });
source.addEventListener('error', () => connection('lost', lastNews ? `connection lost, last news at ${new Date(lastNews).toLocaleTimeString()}` : 'cannot connect'));
source.addEventListener('open', () => connection('live', 'live'));
setInterval(() => { if (cluster && source.readyState === EventSource.OPEN) showCluster(); }, 2000);
json('patroni').then((status) => { if (status && status.pgvigil) setText(byId('version'), status.pgvigil.version); }).catch(() => {});
