package kube

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"modelmanager.dev"
)

func TestSettingText(t *testing.T) {
	setting := modelmanager.Traffic{
		Versions: []modelmanager.Share{{Version: 7, Percent: 90}, {Version: 8, Percent: 10}}, Shadow: 9, Back: 1,
		By: `ana "the" boss`, Reason: "canary\nreason=\"no\" by=1", At: time.Date(2026, 3, 14, 15, 9, 26, 535897000, time.UTC),
	}
	const want = `2026-03-14T15:09:26.535897Z 7=90,8=10 shadow=9 back=1 by="ana \"the\" boss" reason="canary\nreason=\"no\" by=1"`
	if got := formatSetting(setting); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestSettingRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		setting := modelmanager.Traffic{
			Shadow: rapid.IntRange(0, 1<<31-1).Draw(t, "shadow"),
			Back:   rapid.IntRange(0, 20).Draw(t, "back"),
			By:     rapid.String().Draw(t, "by"),
			Reason: rapid.String().Draw(t, "reason"),
			At:     time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "at")).UTC(),
		}
		for _, version := range rapid.SliceOfNDistinct(rapid.IntRange(1, 1<<31-1), 0, 20, rapid.ID[int]).Draw(t, "versions") {
			setting.Versions = append(setting.Versions, modelmanager.Share{Version: version, Percent: rapid.IntRange(0, 100).Draw(t, "percent")})
		}
		got, err := parseSetting(formatSetting(setting))
		if diff := cmp.Diff(setting, got); err != nil || diff != "" {
			t.Fatalf("%v %s", err, diff)
		}
	})
}

func TestBrokenSettings(t *testing.T) {
	for _, text := range []string{
		"", "-", "2026", "2026-03-14T15:09:26Z", "2026-03-14T15:09:26Z ", "2026-03-14T15:09:26Z 7", "2026-03-14T15:09:26Z 7=",
		"2026-03-14T15:09:26Z 7=101", "2026-03-14T15:09:26Z 0=100", "2026-03-14T15:09:26Z -7=100", "2026-03-14T15:09:26Z 7=50,7=50",
		"2026-03-14T15:09:26Z 99999999999=100", "2026-03-14T15:09:26Z 7=100 by=ana", `2026-03-14T15:09:26Z 7=100 by="ana`,
		"2026-03-14T15:09:26Z 7=100 shadow=x", "2026-03-14T15:09:26Z 7=100 color=red", "2026-03-14T15:09:26Z 7=100 nonsense",
	} {
		if setting, err := parseSetting(text); err == nil {
			t.Errorf("%q was read as %v", text, setting)
		}
	}
}

func FuzzSetting(f *testing.F) {
	f.Add(`2026-03-14T15:09:26.535897Z 7=90,8=10 shadow=9 back=1 by="ana" reason="canary"`)
	f.Add("2026-03-14T15:09:26Z -")
	f.Fuzz(func(t *testing.T, text string) {
		setting, err := parseSetting(text)
		if err != nil {
			return
		}
		again, err := parseSetting(formatSetting(setting))
		if diff := cmp.Diff(setting, again); err != nil || diff != "" {
			t.Fatalf("%q: %v %s", text, err, diff)
		}
	})
}

func TestRoster(t *testing.T) {
	var r roster
	r.begin()
	for _, name := range []string{"a", "b", "c"} {
		r.add(name)
	}
	r.remove("b")
	before := r.begin()
	r.add("c")
	r.restore(before) // the list failed here
	before = r.begin()
	r.add("c")
	r.add("d")
	if diff := cmp.Diff([]string{"a"}, r.missing(before)); diff != "" {
		t.Fatal(diff)
	}
}
