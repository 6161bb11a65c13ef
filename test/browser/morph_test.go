package browser_test

import (
	"testing"
)

// morphs makes pages at random, lets one become another, and returns the first
// that isn't what it became; "" if all are.
const morphs = `(function () {
	var seed = 1;
	function random(n) { seed = (seed * 1103515245 + 12345) % 2147483648; return Math.floor(seed / 65536) % n; }
	function page(depth) {
		var html = '', keys = ['a', 'b', 'c', 'd', 'e'].filter(function () { return random(2); }).sort(function () { return random(3) - 1; });
		for (var i = random(5); i >= 0; i--) {
			var tag = ['p', 'div', 'section', 'li', 'details'][random(5)], name = random(3) ? '' : keys.pop();
			html += random(4) ? '' : ['one ', 'two ', '\n'][random(3)];
			html += '<' + tag + (name ? ' data-key="' + name + '"' : '') + (random(3) ? '' : ' class="c' + random(3) + '"') + '>' +
				(depth > 0 && tag !== 'p' ? page(depth - 1) : 'text ' + random(4)) + '</' + tag + '>';
		}
		return html;
	}
	for (var i = 0; i < 3000; i++) {
		var old = document.createElement('div'), now = document.createElement('div');
		old.innerHTML = page(2);
		now.innerHTML = page(2);
		var before = old.innerHTML, want = now.innerHTML;
		window.modelManager.become(old, now, false);
		if (old.innerHTML !== want) return 'from ' + before + '\nto   ' + want + '\ncame ' + old.innerHTML;
	}
	return '';
})()`

// keeps changes a page around what a visitor is at.
const keeps = `(function () {
	var main = document.querySelector('main');
	main.innerHTML = '<p>a</p><ul><li data-key="1"><a href="#1">one</a></li><li data-key="2"><a href="#2">two</a></li></ul>' +
		'<details data-key="d"><summary>s</summary>x</details><form data-key="f"><input name="i" value="old"><select name="s"><option value="1">1</option><option value="2">2</option></select></form>' +
		'<p data-stay>stays</p>';
	main.querySelector('details').open = true;
	main.querySelector('input').value = 'typed';
	main.querySelector('select').value = '2';
	var focused = main.querySelector('a[href="#2"]');
	focused.focus();
	var now = document.createElement('main');
	now.innerHTML = '<div class="note">new</div><p>b</p><ul><li data-key="2"><a href="#2">two!</a></li><li data-key="3"><a href="#3">three</a></li><li data-key="1"><a href="#1">one</a></li></ul>' +
		'<details data-key="d"><summary>s</summary>y</details><form data-key="f"><input name="i" value="new"><select name="s"><option value="3">3</option><option value="2">2</option><option value="1">1</option></select></form>';
	window.modelManager.become(main, now, true);
	return [document.activeElement === focused, focused.textContent, main.querySelector('details').open, main.querySelector('details').lastChild.nodeValue,
		main.querySelector('input').value, main.querySelector('select').value, main.querySelector('[data-stay]') !== null, main.querySelectorAll('li').length].join(' ');
})()`

// TestAPageBecomesAnother: whatever the two are, the one becomes the other, and
// what the visitor is at stays.
func TestAPageBecomesAnother(t *testing.T) {
	a, _ := newVisitor(t, donors)
	a.open("/")
	if wrong := read[string](a, morphs); wrong != "" {
		t.Error(wrong)
	}
	if got, want := read[string](a, keeps), "true two! true y typed 2 true 3"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
