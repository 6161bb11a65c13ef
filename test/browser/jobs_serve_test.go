package browser_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"modelmanager.dev/client"
	"modelmanager.dev/test/program"
)

// analyst is somebody with a browser, in front of a real server.
type analyst struct {
	t      *testing.T
	ctx    context.Context // of the browser
	server string
	pid    int // the server's
	api    *client.Client
	shots  string // folder for screenshots; "": none are kept

	mu       sync.Mutex
	complain []string // what the browser had to complain about
}

// serve starts a server, and waits until it has published its models.
func serve(t *testing.T, models string, args []string) *program.Server {
	t.Helper()
	data := t.TempDir()
	if err := program.KeepEnvironments(data); err != nil {
		t.Fatal(err)
	}
	server, err := program.Start(context.Background(), program.Options{
		MM: mm, Data: data, Log: filepath.Join(t.TempDir(), "server.log"), Args: append([]string{"--models", models}, args...),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", server.Log())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := server.Published(ctx); err != nil {
		t.Fatal(err)
	}
	return server
}

func (a *analyst) browse() {
	t := a.t
	// Not t.TempDir(): a socket's path has 107 characters at the most.
	temp, err := os.MkdirTemp("", "mm-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(filepath.Join(temp, "profile")), chromedp.Env("TMPDIR="+temp), chromedp.WindowSize(1200, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	var cancel context.CancelFunc
	a.ctx, cancel = chromedp.NewContext(allocator)
	messages := chromedp.Console(a.ctx)
	a.do(chromedp.Navigate("about:blank"))
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for message, err := range messages {
			if err != nil {
				return
			}
			if message.IsException() || message.Type == "error" {
				a.mu.Lock()
				a.complain = append(a.complain, message.String())
				a.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		stop()
		<-listening
		for _, complaint := range a.complain {
			t.Errorf("the browser complains: %s", complaint)
		}
	})
}

// patience is how long a page may take on a busy machine.
const patience = 90 * time.Second

func (a *analyst) do(steps ...chromedp.Action[chromedp.Void]) {
	a.t.Helper()
	ctx := a.ctx
	if chromedp.FromContext(ctx).Target != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(a.ctx, patience)
		defer cancel()
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		a.shot("failed")
		a.t.Fatalf("%v, at %s", err, a.address())
	}
}

// read evaluates an expression in the page.
func read[T any](a *analyst, expression string) T {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		a.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits for an expression to be true, across whatever pages come.
func (a *analyst) until(expression string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		// Between two pages there is none to ask.
		if so, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression)); err == nil && so {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			a.shot("failed")
			a.t.Fatalf("it never came to this: %s; the page is %s and says %.1000q", expression, a.address(), a.text("main"))
		}
	}
}

func (a *analyst) address() string {
	ctx, cancel := context.WithTimeout(a.ctx, 10*time.Second)
	defer cancel()
	address, _ := chromedp.Run(ctx, chromedp.Location())
	return address
}

// text is what a part of the page says.
func (a *analyst) text(selector string) string {
	a.t.Helper()
	return strings.Join(strings.Fields(read[string](a, fmt.Sprintf("(document.querySelector(%q) || {innerText: ''}).innerText", selector))), " ")
}

// shot keeps a picture of the page: in light and dark, wide and narrow. The
// page must fit into 390 pixels.
func (a *analyst) shot(name string) {
	a.t.Helper()
	for _, view := range []struct {
		name, theme   string
		width, height int64
	}{{"light", "light", 1200, 900}, {"dark", "dark", 1200, 900}, {"narrow", "light", 390, 844}} {
		ctx, cancel := context.WithTimeout(a.ctx, patience)
		err := chromedp.Do(ctx,
			chromedp.EmulateViewport(view.width, view.height),
			chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.documentElement.setAttribute('data-theme', %q)", view.theme)))
		var picture []byte
		if err == nil {
			picture, err = chromedp.Run(ctx, chromedp.FullScreenshot(100))
		}
		wide := int64(0)
		if err == nil {
			wide, err = chromedp.Run(ctx, chromedp.Evaluate[int64]("document.documentElement.scrollWidth"))
		}
		cancel()
		if err != nil {
			a.t.Logf("no picture of %s: %v", name, err)
			return
		}
		if wide > view.width {
			a.t.Errorf("%s is %d pixels wide where there are %d", name, wide, view.width)
		}
		if a.shots != "" {
			if err := os.WriteFile(filepath.Join(a.shots, name+"-"+view.name+".png"), picture, 0o644); err != nil {
				a.t.Error(err)
			}
		}
	}
	a.do(chromedp.EmulateViewport(1200, 900), chromedp.Evaluate[chromedp.Void]("document.documentElement.removeAttribute('data-theme')"))
}

// fetch follows a link of the page, as its download does.
func (a *analyst) fetch(selector string) ([]byte, string) {
	a.t.Helper()
	address := read[string](a, fmt.Sprintf("document.querySelector(%q).href", selector))
	if target, err := url.Parse(address); err != nil || "http://"+target.Host != a.server {
		a.t.Fatalf("%q leads elsewhere", address)
	}
	response, err := http.Get(address)
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		a.t.Fatalf("%s: %s %v", address, response.Status, err)
	}
	return data, response.Header.Get("Content-Disposition")
}
