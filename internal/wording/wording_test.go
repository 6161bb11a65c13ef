package wording

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestShorten(t *testing.T) {
	for _, test := range []struct {
		text string
		most int
		want string
	}{
		{"", 5, ""}, {"short", 5, "short"}, {"longer", 5, "long…"},
		{"größe", 5, "größe"}, {"größen", 5, "größ…"}, {"日本語のテキスト", 4, "日本語…"},
		{"🚀🚀🚀", 3, "🚀🚀🚀"}, {"🚀🚀🚀", 2, "🚀…"}, {"gr\xfc\xdfen", 5, "gr\xfc\xdf…"},
	} {
		if got := Shorten(test.text, test.most); got != test.want {
			t.Errorf("Shorten(%q, %d) = %q, want %q", test.text, test.most, got, test.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text, most := rapid.String().Draw(t, "text"), rapid.IntRange(1, 20).Draw(t, "most")
		got := Shorten(text, most)
		whole := utf8.RuneCountInString(text) <= most
		if whole != (got == text) || utf8.RuneCountInString(got) > most || !utf8.ValidString(got) || !strings.HasPrefix(text, strings.TrimSuffix(got, "…")) && !whole {
			t.Errorf("Shorten(%q, %d) = %q", text, most, got)
		}
	})
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		from, to    string
		limit, want int
	}{
		{"", "", 3, 0}, {"", "abc", 9, 3}, {"abc", "abc", 1, 0}, {"abc", "abd", 9, 1}, {"abc", "acb", 9, 1}, {"radius", "raduis", 9, 1},
		{"abc", "xyz", 2, 2}, {"a", "abcdef", 3, 3},
		// Two bytes a letter, and one slip.
		{"größe", "grösse", 9, 2}, {"größe", "grösze", 9, 2}, {"groesse", "große", 9, 3}, {"возраст", "возрост", 9, 1}, {"дом", "лом", 9, 1},
		{"年齢", "年令", 9, 1}, {"naïve", "naive", 9, 1},
		{strings.Repeat("ä", 100), strings.Repeat("ä", 99) + "ö", 9, 1},
	} {
		if got := Distance(test.from, test.to, test.limit); got != test.want {
			t.Errorf("Distance(%q, %q, %d) = %d, want %d", test.from, test.to, test.limit, got, test.want)
		}
		if got := Distance(test.to, test.from, test.limit); got != test.want {
			t.Errorf("Distance(%q, %q, %d) = %d, want %d", test.to, test.from, test.limit, got, test.want)
		}
	}
	text := rapid.StringMatching(`[aäя年]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		limit := rapid.IntRange(1, 9).Draw(t, "limit")
		whole := Distance(a, b, 100)
		if got := Distance(a, b, limit); got != min(whole, limit) || (whole == 0) != (a == b) || Distance(b, a, limit) != got {
			t.Errorf("Distance(%q, %q, %d) = %d, and without a limit %d", a, b, limit, got, whole)
		}
	})
}
