package browser_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"modelmanager.dev/test/needs"
)

// runsAsCopied copies the question that was answered for curl, Python and R, and
// runs each as it is, with more in its environment. All answer as the page does.
func (a *analyst) runsAsCopied(environment ...string) {
	t := a.t
	t.Helper()
	want, err := strconv.ParseFloat(read[string](a, "document.querySelector('.answer .value').textContent"), 64)
	if err != nil {
		t.Fatal(err)
	}
	a.do(chromedp.Evaluate[chromedp.Void]("Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.addEventListener('copy', () => { window.copied = document.activeElement.value; })"))
	for i, one := range []struct {
		name, program, check string
		reply                *regexp.Regexp
	}{
		{"curl", "bash", "curl --version", regexp.MustCompile(`"reply":([0-9.]+)`)},
		{"Python", "python3", "import requests", regexp.MustCompile(`'reply': ([0-9.]+)`)},
		{"R", "Rscript", "library(httr2)", regexp.MustCompile(`\$reply\s+\[1\] ([0-9.]+)`)},
	} {
		block := fmt.Sprintf("details[name=code]:nth-of-type(%d)", i+1)
		a.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("window.copied = ''; document.querySelector(%q).open = true", block)),
			chromedp.Click(chromedp.CSS(block+" .copy")))
		a.wait("window.copied !== ''")
		code := read[string](a, "window.copied")
		t.Run(one.name, func(t *testing.T) {
			program := needs.Program(t, one.program)
			flag := "-c"
			if one.name == "R" {
				flag = "-e"
			}
			if output, err := exec.Command(program, flag, one.check).CombinedOutput(); err != nil {
				needs.Skip(t, fmt.Sprintf("%s lacks what it imports: %s", one.name, output))
			}
			file := filepath.Join(t.TempDir(), "copied")
			if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), program, file)
			command.Env = append(os.Environ(), environment...)
			output, err := command.Output()
			if err != nil {
				t.Fatalf("%v: %s\n%s", err, output, code)
			}
			found := one.reply.FindSubmatch(output)
			if found == nil {
				t.Fatalf("it says %s", output)
			}
			// The page and R show some digits only.
			if got, err := strconv.ParseFloat(string(found[1]), 64); err != nil || math.Abs(got-want) > 1e-3 {
				t.Errorf("it says %s, and the page %v", output, want)
			}
		})
	}
}

// TestWhatIsCopiedRuns: the question of the form, asked from a program, with a
// value that nobody knows.
func TestWhatIsCopiedRuns(t *testing.T) {
	a, _ := newVisitor(t, donors)
	a.open("/models/donor-reply/try?example=2")
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('.answer') !== null")
	a.runsAsCopied()
}

// TestWhatIsCopiedRunsWithAToken: who is signed in copies no secret, and gives
// the program a token in its environment.
func TestWhatIsCopiedRunsWithAToken(t *testing.T) {
	a, servers := newMember(t, everybody, donors)
	a.open("/models/donor-reply/try?example=2")
	a.signIn(ada)
	a.do(chromedp.Click(chromedp.CSS("#try-form .primary")))
	a.wait("document.querySelector('.answer') !== null")
	token := servers.provider.Login()
	if page := read[string](a, "document.documentElement.outerHTML"); strings.Contains(page, "Bearer ey") || !strings.Contains(page, "MM_TOKEN") {
		t.Error("the page shows a token, or doesn't say where one goes")
	}
	a.runsAsCopied("MM_TOKEN=" + token)
	a.forgive("404 (Not Found)") // the provider's icon
}
