// The page of the guestbook: signs in, sends entries, and shows those of everybody as they come.
const longest = 280;
const $ = (id) => document.getElementById(id);
const sessionForm = $('session'), entryForm = $('entry'), list = $('entries');

// ---- who is here

let session = JSON.parse(sessionStorage.getItem('session') ?? 'null'); // {name, token, until}

function enter(s) {
  session = s;
  if (s) sessionStorage.setItem('session', JSON.stringify(s));
  else sessionStorage.removeItem('session');
  showSession();
}

function showSession() {
  sessionForm.hidden = Boolean(session);
  entryForm.hidden = !session;
  if (!session) return;
  $('me').textContent = session.name;
  paint($('me-avatar'), session.name);
}

// call asks the API and returns its answer; what it throws has a message for people, and the status.
async function call(path, body, token) {
  const headers = { 'content-type': 'application/json' };
  if (token) headers.authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body), signal: AbortSignal.timeout(15_000) });
  } catch {
    throw new Error('The guestbook cannot be reached. Try again in a moment.');
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const wait = response.headers.get('retry-after');
  const error = new Error(response.status === 429 ? `That was quick. Try again in ${wait ?? 'a few'} s.`
    : response.status < 500 && answer.message || 'Something went wrong. Try again in a moment.');
  error.status = response.status;
  throw error;
}

// submit runs work while the form's button says so; an error is shown at field.
async function submit(form, field, busy, work) {
  const button = form.querySelector('button:not([type])'), label = button.textContent, error = $(`${form.id}-error`);
  if (button.disabled) return;
  error.textContent = '';
  field.removeAttribute('aria-invalid');
  button.disabled = true;
  button.textContent = busy;
  form.setAttribute('aria-busy', 'true');
  try {
    await work();
  } catch (e) {
    error.textContent = e.message;
    if (e.status === 400) field.setAttribute('aria-invalid', 'true');
    field.focus();
  } finally {
    button.disabled = false;
    button.textContent = label;
    form.removeAttribute('aria-busy');
  }
}

const invalid = (message) => Object.assign(new Error(message), { status: 400 });

sessionForm.addEventListener('submit', (event) => {
  event.preventDefault();
  const field = $('name');
  submit(sessionForm, field, 'Signing in…', async () => {
    if (!field.value.trim()) throw invalid('Tell us a name to sign with.');
    const { name, token, expires } = await call('/session', { name: field.value });
    enter({ name, token, until: Date.now() + expires * 1000 });
    $('text').focus();
  });
});

$('leave').addEventListener('click', () => {
  enter(null);
  $('name').focus();
});

// ---- writing

entryForm.addEventListener('submit', (event) => {
  event.preventDefault();
  const field = $('text');
  submit(entryForm, field, 'Sending…', async () => {
    if (!field.value.trim()) throw invalid('An entry needs a word or two.');
    if ([...field.value.trim()].length > longest) throw invalid(`An entry has at most ${longest} characters.`);
    try {
      show(await call('/entries', { text: field.value }, session.token));
    } catch (e) {
      if (e.status !== 401) throw e;
      $('name').value = session.name;
      enter(null); // the text stays where it is
      $('session-error').textContent = 'Your session has ended. Sign in again; what you wrote is kept.';
      $('name').focus();
      return;
    }
    field.value = '';
    count();
  });
});

function count() {
  const left = longest - [...$('text').value.trim()].length;
  $('left').textContent = left < 0 ? `${-left} too many` : `${left} left`;
  $('left').classList.toggle('over', left < 0);
}
$('text').addEventListener('input', count);
$('text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) entryForm.requestSubmit();
});

// ---- reading

const shown = new Set(); // ids of the entries on the page

function paint(avatar, name) {
  const words = name.split(' ').filter(Boolean);
  avatar.textContent = [words[0], words.length > 1 ? words.at(-1) : ''].map((w) => [...w][0] ?? '').join('').toUpperCase();
  let hue = 0;
  for (const c of name) hue = (hue * 31 + c.codePointAt(0)) % 360;
  avatar.style.setProperty('--hue', hue);
}

function element(tag, name, text) {
  const e = document.createElement(tag);
  e.className = name;
  if (text !== undefined) e.textContent = text;
  return e;
}

function show(entry, fresh = true) {
  if (shown.has(entry.id)) return;
  const item = element('li', fresh ? 'entry fresh' : 'entry');
  const avatar = element('span', 'avatar');
  avatar.setAttribute('aria-hidden', 'true');
  paint(avatar, entry.name);
  const time = element('time', 'when');
  time.dateTime = entry.time;
  time.title = new Date(entry.time).toLocaleString();
  const head = element('p', 'byline');
  head.append(element('strong', 'name', entry.name), time);
  item.append(avatar, head, element('p', 'text', entry.text));
  shown.add(entry.id);
  list.prepend(item);
  $('empty').hidden = true;
  age();
}

const units = [['day', 86_400], ['hour', 3_600], ['minute', 60]];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

function age() {
  for (const time of list.querySelectorAll('time')) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const [unit, size] = units.find(([, size]) => seconds >= size) ?? [];
    time.textContent = unit ? relative.format(-Math.floor(seconds / size), unit) : 'just now';
  }
}
setInterval(age, 20_000);

const states = { connecting: 'Connecting', live: 'Live', lost: 'Reconnecting' };
let settled; // the timer that says that the connection is lost, unless it comes back at once

function setState(state) {
  clearTimeout(settled);
  settled = undefined;
  $('state').dataset.state = state;
  $('state').textContent = states[state];
}

function listen(pause = 1000) {
  const source = new EventSource('/entries');
  source.addEventListener('open', () => {
    pause = 1000;
    setState('live');
  });
  source.addEventListener('start', (event) => {
    list.replaceChildren();
    shown.clear();
    for (const entry of JSON.parse(event.data)) show(entry, false);
    $('waiting').hidden = true;
    $('empty').hidden = shown.size > 0;
    list.setAttribute('aria-busy', 'false');
  });
  source.addEventListener('entry', (event) => show(JSON.parse(event.data)));
  source.addEventListener('error', () => {
    settled ??= setTimeout(setState, 2000, 'lost'); // streams end now and then, and the browser connects again
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(listen, pause, Math.min(2 * pause, 30_000)); // an answer that was no stream: the browser gives up, we do not
  });
}

if (session && session.until < Date.now()) enter(null);
showSession();
count();
listen();
