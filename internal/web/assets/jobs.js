// Files: the progress of an upload, and dropping one. Everything works without
// it: forms are sent as they are.
(function () {
  'use strict';

  function say(text) { document.dispatchEvent(new CustomEvent('mm:say', { detail: text })); }

  function size(bytes) {
    var units = ['bytes', 'kB', 'MB', 'GB', 'TB'], unit = 0;
    while (bytes >= 1000 && unit < 4) { bytes /= 1000; unit++; }
    return (unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)) + ' ' + units[unit];
  }

  function uploads(form) {
    var input = form.querySelector('input[type=file]');
    var wrong = form.querySelector('[data-wrong]');
    var sending = form.querySelector('[data-sending]');
    var bar = sending.querySelector('progress');
    var sent = sending.querySelector('[data-sent]');
    var button = form.querySelector('button.primary');
    form.querySelector('[data-dropped]').hidden = false;

    function complain(text) {
      wrong.textContent = text;
      sending.hidden = true;
      button.disabled = false;
    }

    form.addEventListener('submit', function (event) {
      if (!input.files.length) return;
      event.preventDefault();
      wrong.textContent = '';
      if (input.files[0].size > Number(form.getAttribute('data-most'))) { complain(form.getAttribute('data-too-large')); return; }
      var request = new XMLHttpRequest();
      var told = -1;
      request.open('POST', form.action);
      request.setRequestHeader('HX-Request', 'true');
      request.upload.addEventListener('progress', function (e) {
        if (!e.lengthComputable) return;
        var percent = Math.floor(e.loaded / e.total * 100);
        bar.value = percent;
        sent.textContent = size(e.loaded) + ' of ' + size(e.total);
        if (Math.floor(percent / 25) > told) { told = Math.floor(percent / 25); say('Uploaded ' + percent + '%'); }
        if (e.loaded === e.total) sent.textContent = 'Looking at the file…';
      });
      request.addEventListener('load', function () {
        var to = request.getResponseHeader('HX-Redirect');
        if (to) { location.assign(to); return; }
        if (request.getResponseHeader('Mm-Part') !== '1') { complain('There is no answer from the server. Nothing of the file was kept; send it again.'); return; }
        var answer = new DOMParser().parseFromString(request.responseText, 'text/html').body;
        var renewed = answer.querySelector('[data-renewed]');
        if (renewed) form.querySelector('input[name=csrf]').value = renewed.getAttribute('data-renewed');
        complain(answer.textContent.trim() || 'The upload was refused.');
      });
      request.addEventListener('error', function () { complain('The connection was lost. Nothing of the file was kept; send it again.'); });
      request.addEventListener('abort', function () { complain(''); say('The upload was stopped'); });
      form.querySelector('[data-stop]').onclick = function () { request.abort(); };
      sending.hidden = false;
      button.disabled = true;
      request.send(new FormData(form));
    });

    // A page that is kept for the way back is ready for another file.
    window.addEventListener('pageshow', function (event) {
      if (!event.persisted) return;
      complain('');
      bar.value = 0;
      sent.textContent = '';
    });

    ['dragenter', 'dragover'].forEach(function (name) {
      form.addEventListener(name, function (e) { e.preventDefault(); form.classList.add('over'); });
    });
    form.addEventListener('dragleave', function (e) { if (!form.contains(e.relatedTarget)) form.classList.remove('over'); });
    form.addEventListener('drop', function (e) {
      e.preventDefault();
      form.classList.remove('over');
      if (!e.dataTransfer || !e.dataTransfer.files.length) return;
      input.files = e.dataTransfer.files;
      say('Chosen: ' + input.files[0].name);
      form.requestSubmit();
    });
  }

  // Looking at every row takes a while: the server says how far it is, and then
  // how the page is. Without this, the link waits for it.
  function whole(link) {
    var shown = link.closest('form').querySelector('[data-whole-progress]');
    var bar = shown.querySelector('progress'), words = shown.querySelector('span'), told = -1;
    var events = new EventSource(link.href);
    function over(text) {
      events.close();
      link.hidden = false;
      bar.hidden = true;
      words.textContent = text;
      shown.querySelector('button').hidden = true;
      say(text);
    }
    link.hidden = true;
    shown.hidden = bar.hidden = shown.querySelector('button').hidden = false;
    bar.value = 0;
    words.textContent = 'Looking at every row…';
    events.addEventListener('progress', function (event) {
      var now = JSON.parse(event.data);
      bar.value = now.percent;
      words.textContent = now.says;
      if (Math.floor(now.percent / 25) > told) { told = Math.floor(now.percent / 25); say(now.says); }
    });
    events.addEventListener('page', function (event) {
      events.close();
      history.replaceState(null, '', link.href);
      window.modelManager.become(document.querySelector('main'), new DOMParser().parseFromString(event.data, 'text/html').body, false);
    });
    events.addEventListener('refused', function (event) { over(event.data); });
    events.addEventListener('error', function () { over('The check broke off. Try again, or run the job: it rejects what doesn’t fit.'); });
    shown.querySelector('button').onclick = function () { over('Stopped.'); };
  }

  document.addEventListener('click', function (event) {
    var link = event.target.closest('a[data-whole]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    whole(link);
  });

  document.addEventListener('DOMContentLoaded', function () {
    document.querySelectorAll('form[data-upload]').forEach(uploads);
    // To type a limit is to mean it.
    var limit = document.getElementById('max_rejected');
    if (limit) limit.addEventListener('input', function () {
      var after = document.querySelector('input[name=stop][value=after]');
      if (after) after.checked = true;
    });
  });
})();
