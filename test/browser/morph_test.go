package browser_test

import "testing"

// keeps changes a page around what a visitor is at.
const keeps = `(function () {
	var main = document.querySelector('main');
	main.innerHTML = '<p>a</p><ul><li id="1"><a href="#1">one</a></li><li id="2"><a href="#2">two</a></li></ul>' +
		'<details id="d"><summary>s</summary>x</details><form id="f"><input name="i" value="old"><select name="s"><option value="1">1</option><option value="2">2</option></select></form>' +
		'<p data-stay>stays</p><progress value="1" max="9"></progress>';
	main.querySelector('details').open = true;
	main.querySelector('input').value = 'typed';
	main.querySelector('select').value = '2';
	var focused = main.querySelector('a[href="#2"]');
	focused.focus();
	var now = document.createElement('main');
	now.innerHTML = '<div class="note">new</div><p>b</p><ul><li id="2"><a href="#2">two!</a></li><li id="3"><a href="#3">three</a></li><li id="1"><a href="#1">one</a></li></ul>' +
		'<details id="d"><summary>s</summary>y</details><form id="f"><input name="i" value="new"><select name="s"><option value="3">3</option><option value="2">2</option><option value="1">1</option></select></form><progress value="5" max="9"></progress>';
	window.modelManager.become(main, now, true);
	return [document.activeElement === focused, focused.textContent, main.querySelector('details').open, main.querySelector('details').lastChild.nodeValue,
		main.querySelector('input').value, main.querySelector('select').value, main.querySelector('[data-stay]') !== null, main.querySelectorAll('li').length, main.querySelector('progress').value].join(' ');
})()`

// TestAPageBecomesAnother: what the visitor is at stays.
func TestAPageBecomesAnother(t *testing.T) {
	a, _ := newVisitor(t, donors)
	a.open("/")
	if got, want := read[string](a, keeps), "true two! true y typed 2 true 3 5"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
