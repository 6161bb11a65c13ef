// What htmx doesn't do: copying a text block, saying things to screen readers,
// and what becomes of a part that can't be had. Everything works without it.
(function () {
  'use strict';

  function say(text) {
    var said = document.getElementById('said');
    if (said && said.textContent !== text) said.textContent = text;
  }
  document.addEventListener('mm:say', function (event) { say(event.detail); });

  // Browsers let a page write to the clipboard only over HTTPS or on the
  // machine itself; elsewhere a selection can still be copied.
  function copy(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    return new Promise(function (done, failed) {
      var field = document.createElement('textarea'), focused = document.activeElement;
      field.value = text;
      field.className = 'unseen';
      field.setAttribute('readonly', '');
      document.body.appendChild(field);
      field.select();
      var copied = document.execCommand('copy');
      field.remove();
      if (focused) focused.focus({ preventScroll: true });
      if (copied) done(); else failed();
    });
  }

  // A block that can be copied gets its button here, because without this
  // script the button would do nothing.
  function offerCopies(root) {
    root.querySelectorAll('[data-copy]:not([data-offered])').forEach(function (block) {
      block.setAttribute('data-offered', '');
      var button = document.createElement('button');
      button.type = 'button';
      button.className = 'copy';
      var word = document.createTextNode('Copy'), what = document.createElement('span');
      what.className = 'unseen';
      what.textContent = ' ' + (block.getAttribute('data-copy') || 'this');
      button.append(word, what);
      button.addEventListener('click', function () {
        var code = block.querySelector('code') || block;
        copy(code.textContent).then(function () {
          word.nodeValue = 'Copied';
          say('Copied');
          setTimeout(function () { word.nodeValue = 'Copy'; }, 2000);
        }, function () {
          window.getSelection().selectAllChildren(code);
          say('The browser did not let this be copied. It is selected: press Control and C, or Command and C');
        });
      });
      block.appendChild(button);
    });
  }

  // A part that can't be had leaves what is there as it is, and says why beside it.
  function complain(elt, target, words) {
    var form = elt.closest('form:not([role=search])');
    well();
    var note = document.createElement('div');
    note.className = 'note bad';
    note.setAttribute('data-complaint', '');
    note.setAttribute('data-stay', '');
    note.setAttribute('role', 'alert');
    note.append.apply(note, words);
    if (form) form.append(note); else if (elt.matches('[data-again]')) elt.append(note); else target.before(note);
    // A form of an earlier session gets the token of this one.
    var renewed = note.querySelector('[data-renewed]');
    if (renewed) document.querySelectorAll('input[name=csrf]').forEach(function (field) { field.value = renewed.getAttribute('data-renewed'); });
  }

  function well() {
    document.querySelectorAll('[data-complaint]').forEach(function (note) { note.remove(); });
  }

  function ours(xhr) { return xhr.getResponseHeader('Mm-Part') === '1'; }

  document.addEventListener('htmx:beforeSwap', function (event) {
    var detail = event.detail;
    if (ours(detail.xhr) && detail.xhr.status < 400) { well(); return; }
    detail.shouldSwap = false;
    var words = ['There is no answer from the server. Try again in a moment.'];
    if (ours(detail.xhr)) {
      var alert = new DOMParser().parseFromString(detail.xhr.responseText, 'text/html').querySelector('[role=alert]');
      if (alert) words = Array.from(alert.childNodes);
    }
    complain(detail.requestConfig.elt, detail.target, words);
    goOn(detail.requestConfig.elt);
  });
  ['htmx:sendError', 'htmx:timeout'].forEach(function (name) {
    document.addEventListener(name, function (event) {
      complain(event.detail.requestConfig.elt, event.detail.target, ['There is no answer from the server. Try again in a moment.']);
      goOn(event.detail.requestConfig.elt);
    });
  });

  // What asks by itself asks again.
  function goOn(elt) {
    if (!elt.matches('[data-again]')) return;
    setTimeout(function () { if (document.contains(elt)) htmx.trigger(elt, 'again'); }, 3000);
  }

  // Where the answer stands below the form, it is brought into sight.
  document.addEventListener('htmx:afterSwap', function (event) {
    var answer = document.querySelector('#try #answer');
    if (!answer || event.detail.target.id !== 'try') return;
    var at = answer.getBoundingClientRect();
    if (at.top > window.innerHeight - 80 || at.bottom < 80) answer.scrollIntoView({ block: 'start' });
  });

  document.addEventListener('DOMContentLoaded', function () { offerCopies(document); });
  document.addEventListener('htmx:load', function (event) { offerCopies(event.detail.elt); });
})();
