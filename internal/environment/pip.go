package environment

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/proc"
)

// pythonBuild builds one Python environment.
type pythonBuild struct {
	manager       *Manager
	interpreter   string
	model         string // its folder
	lock, content string
	dir           string
	progress      func(string)

	fetch bool // the packages are only fetched, not installed

	names []string // packages asked for
	got   map[string]bool
	last  []string // the last lines of output
}

func (b *pythonBuild) run(ctx context.Context) error {
	b.got = map[string]bool{}
	uv, _ := b.manager.lookPath("uv") // "" if there is none
	requirementsFile := b.lock
	if b.lock == "uv.lock" {
		requirementsFile = filepath.Join(b.dir, "requirements.txt")
		if err := b.exportUV(ctx, requirementsFile); err != nil {
			return err
		}
	}
	b.names = packageNames(b.content)
	b.progress("making a Python environment")
	install, err := b.venv(ctx, uv)
	if err != nil {
		return err
	}
	b.progress(fmt.Sprintf("installing %s", b.count()))
	install = append(install, "-r", requirementsFile)
	if err := b.command(ctx, install[0], install[1:]...); err != nil {
		return b.explain(err)
	}
	return nil
}

// venv makes an environment without packages, and returns the command that
// installs some into it. Python is told to compile what it installs at once:
// a version's environment may be read-only to its worker.
func (b *pythonBuild) venv(ctx context.Context, uv string) (install []string, err error) {
	python := filepath.Join(b.dir, "bin", "python")
	options := []string{"--no-input", "--disable-pip-version-check", "--no-color", "--progress-bar", "off", "--compile"}
	switch {
	case uv != "":
		install = []string{uv, "pip", "install", "--python", python, "--compile-bytecode"}
		err = b.command(ctx, uv, "venv", "--quiet", "--allow-existing", "--python", b.interpreter, b.dir)
	case b.command(ctx, b.interpreter, "-m", "pip", "--python", b.interpreter, "--version") == nil:
		// The interpreter's own pip installs into another environment, which
		// then needs none: making one takes longer than all the rest.
		install = append([]string{b.interpreter, "-m", "pip", "--python", python, "install"}, options...)
		err = b.command(ctx, b.interpreter, "-m", "venv", "--without-pip", b.dir)
	default:
		install = append([]string{python, "-m", "pip", "install"}, options...)
		err = b.command(ctx, b.interpreter, "-m", "venv", b.dir)
	}
	if err != nil {
		return nil, unavailable("making a Python environment with %s failed: %s; on Debian, install python3-venv", b.interpreter, b.lastLine(err))
	}
	return install, nil
}

func (b *pythonBuild) verb() string {
	if b.fetch {
		return "fetching"
	}
	return "installing"
}

func (b *pythonBuild) count() string {
	if len(b.names) == 1 {
		return "1 Python package"
	}
	return fmt.Sprintf("%d Python packages", len(b.names))
}

// quiet is how long a program that builds an environment may say nothing.
const quiet = 15 * time.Minute

// command runs a program and follows what it says.
func (b *pythonBuild) command(ctx context.Context, name string, arguments ...string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(quiet, func() { cancel(fmt.Errorf("it said nothing for %s", quiet)) })
	defer watchdog.Stop()
	command := exec.CommandContext(ctx, name, arguments...)
	command.Dir = b.model
	command.Env = append(b.manager.environ(), "PYTHONUNBUFFERED=1", "PIP_NO_INPUT=1", "NO_COLOR=1")
	command.WaitDelay = 5 * time.Second
	b.last = nil
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(reader)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			watchdog.Reset(quiet)
			b.line(lines.Text())
		}
		_, _ = io.Copy(io.Discard, reader) // a line beyond all measure
	}()
	err := proc.Run(command)
	_ = writer.Close() // a pipe of this process; it can't fail
	<-done
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

var (
	pipCollecting = regexp.MustCompile(`^(?:Collecting |Requirement already satisfied: |Processing .*/)([A-Za-z0-9._-]+?)(?:-[0-9][^ -]*-[^ ]*\.whl|-[0-9][^ ]*\.tar\.gz|[^A-Za-z0-9._-]|$)`)
	pipInstalling = regexp.MustCompile(`^Installing collected packages: (.*)`)
)

// line takes note of one line of pip's, or uv's, output.
func (b *pythonBuild) line(text string) {
	text = strings.TrimRight(text, " \r")
	if strings.TrimSpace(text) == "" {
		return
	}
	if b.last = append(b.last, text); len(b.last) > 40 {
		b.last = b.last[1:]
	}
	if match := pipInstalling.FindStringSubmatch(text); match != nil {
		b.progress(fmt.Sprintf("installing %s: writing %s", b.count(), plural(len(strings.Split(match[1], ",")), "package")))
		return
	}
	match := pipCollecting.FindStringSubmatch(strings.TrimSpace(text))
	if match == nil {
		return
	}
	name := canonicalName(match[1])
	for _, wanted := range b.names {
		if wanted == name && !b.got[name] {
			b.got[name] = true
			b.progress(fmt.Sprintf("%s %s: %s (%d of %d)", b.verb(), b.count(), match[1], len(b.got), len(b.names)))
		}
	}
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

var (
	requirementName = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)`)
	separators      = regexp.MustCompile(`[-_.]+`)
	noDistribution  = regexp.MustCompile(`No matching distribution found for (\S+)`)
	uvNoVersion     = regexp.MustCompile(`Because there (?:is|are) no version of (\S+)`)
	uvNotFound      = regexp.MustCompile(`Because (\S+) was not found`)
)

func canonicalName(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

func packageNames(content string) []string {
	var names []string
	for line := range strings.Lines(normalise(content)) {
		if name := requirementName.FindString(strings.TrimSpace(line)); name != "" {
			names = append(names, canonicalName(name))
		}
	}
	return names
}

// unreachable is what pip and uv say of a network that fails: that isn't the
// model's fault, and may pass.
var unreachable = regexp.MustCompile(`(?i)failed to establish a new connection|name resolution|connection (?:refused|reset|broken)|read timed out|error sending request|HTTP error 5\d\d|\b50[234] (?:Server Error|Bad Gateway|Service)`)

// explain says what went wrong in words of the lock file.
func (b *pythonBuild) explain(err error) error {
	whole := strings.Join(b.last, "\n")
	if unreachable.MatchString(whole) {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "installing the packages of %s failed, since the package index can't be reached: %s", b.lock, b.lastLine(err))
	}
	for _, pattern := range []*regexp.Regexp{noDistribution, uvNoVersion, uvNotFound} {
		match := pattern.FindStringSubmatch(whole)
		if match == nil {
			continue
		}
		wanted := match[1]
		name := canonicalName(requirementName.FindString(wanted))
		where := b.lock
		if number := lineOf(b.content, name); number > 0 && b.lock != "uv.lock" {
			where = fmt.Sprintf("%s line %d", b.lock, number)
		}
		found := versionsIn(whole)
		if b.fetch {
			return unavailable("%s: there is no wheel of %s for that%s; what has none would have to be built, which takes an image of your own (build.dockerfile, or build.image)", where, wanted, found)
		}
		return unavailable("%s: there is no %s that fits this Python and this machine%s", where, wanted, found)
	}
	return unavailable("installing the packages of %s failed: %s", b.lock, b.lastLine(err))
}

var fromVersions = regexp.MustCompile(`\(from versions: ([^)]*)\)`)

func versionsIn(output string) string {
	match := fromVersions.FindStringSubmatch(output)
	if match == nil || match[1] == "none" || match[1] == "" {
		return "; is the name right, and does the package index answer?"
	}
	versions := strings.Split(match[1], ", ")
	return "; the newest there is " + versions[len(versions)-1]
}

// lineOf returns the line of a requirements file that asks for a package, 0 if
// none does.
func lineOf(content, name string) int {
	number := 0
	for line := range strings.Lines(content) {
		number++
		if canonicalName(requirementName.FindString(strings.TrimSpace(line))) == name {
			return number
		}
	}
	return 0
}

// lastLine returns the last line that says something of an error.
func (b *pythonBuild) lastLine(err error) string {
	for i := len(b.last) - 1; i >= 0; i-- {
		line := strings.TrimSpace(b.last[i])
		if rest, ok := strings.CutPrefix(line, "ERROR: "); ok {
			return rest
		}
		if strings.Contains(strings.ToLower(line), "error:") || strings.HasPrefix(line, "×") {
			return line
		}
	}
	for i := len(b.last) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(b.last[i]); !strings.HasPrefix(line, "[notice]") && !strings.HasPrefix(line, "hint:") {
			return line
		}
	}
	return err.Error()
}
