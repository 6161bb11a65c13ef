package modelmanager_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"modelmanager.dev"
)

// TestNumbers holds Numbers against a map: whatever is put in and taken out.
func TestNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var numbers modelmanager.Numbers
		want := map[int]bool{}
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			some := rapid.SliceOfN(rapid.IntRange(1, 30), 0, 5).Draw(t, "numbers")
			before := numbers.String()
			old := numbers
			if rapid.Bool().Draw(t, "in") {
				numbers = numbers.With(some...)
				for _, number := range some {
					want[number] = true
				}
			} else {
				numbers = numbers.Without(some...)
				for _, number := range some {
					delete(want, number)
				}
			}
			if old.String() != before {
				t.Fatalf("%s became %s", before, old)
			}
		}
		if got := slices.Collect(numbers.All()); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Fatalf("%s holds %d, not %v", numbers, got, want)
		}
		for number := range 32 {
			if numbers.Has(number) != want[number] {
				t.Fatalf("%s has %d: %t", numbers, number, numbers.Has(number))
			}
		}
		text, err := numbers.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var read modelmanager.Numbers
		if err := read.UnmarshalText(text); err != nil || !slices.Equal(read, numbers) {
			t.Fatalf("%s was read as %s (%v)", text, read, err)
		}
	})
}

func TestNumbersRefused(t *testing.T) {
	for _, text := range []string{",", "0", "-", "1-", "-3", "3-1", "1,2", "1-3,3", "5,1", "a", "1,,3", "+1", " 1", "99999999999"} {
		var numbers modelmanager.Numbers
		if err := numbers.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, numbers)
		}
	}
}
