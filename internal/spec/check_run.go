package spec

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"modelmanager.dev"
)

var labelName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$`)

// kinds lists the ways to run that the file names.
func (c *checker) kinds() []string {
	var kinds []string
	n, found := c.root.find([]any{"run"})
	if !found {
		return nil
	}
	for _, e := range n.entries {
		if modelShape.key("run").shape.key(e.key.text) != nil {
			kinds = append(kinds, e.key.text)
		}
	}
	return kinds
}

func (c *checker) runs() {
	kinds := c.kinds()
	n, found := c.root.find([]any{"run"})
	if !found || n.kind != kindObject {
		return
	}
	switch {
	case len(kinds) == 0 && c.clean("run"):
		c.fault("`run` must say how: one of python, r, command, http and job", "write run: {python: predict.py:predict}", "run")
	case len(kinds) > 1:
		for _, e := range n.entries {
			if e.key.text == kinds[1] {
				c.report(e.key.at, []any{"run"}, fmt.Sprintf("`run` must have exactly one of %s", alternativesAnd(kinds)), "delete the others")
			}
		}
	}
	build, run := c.spec.Build, c.spec.Run
	own := build != nil && (build.Dockerfile != "" || build.Image != "") || c.base
	c.program(run.Command, own, "run", "command")
	if run.HTTP != nil {
		c.program(run.HTTP.Command, own, "run", "http", "command")
		if len(run.HTTP.Envelope) > 0 && run.HTTP.Format == "csv" {
			c.fault("an `envelope` is merged into a JSON request, but format: csv has none", "delete envelope, or take another format", "run", "http", "envelope")
		}
		if run.HTTP.Format == "csv" || run.HTTP.Format == "v2" {
			c.openArrays(run.HTTP.Format)
		}
	}
	if run.Job != nil {
		c.program(run.Job.Command, own, "run", "job", "command")
	}
	for _, kind := range []string{"python", "r"} {
		if call, ok := c.root.find([]any{"run", kind}); ok && call.kind == kindText {
			file, _, _ := strings.Cut(call.text, ":")
			c.within(file, "run", kind)
		}
	}
}

// openArrays refuses arrays without a fixed length where a format has a column
// for each item.
func (c *checker) openArrays(format string) {
	for i, f := range c.spec.Features {
		if f.Type == modelmanager.Array && f.MaxItems != nil {
			c.fault(fmt.Sprintf("run.http.format: %s has no place for an array without a fixed length", format), "give it length, or take format: rows", "features", i, "max_items")
		}
	}
}

// program checks a command: it may be absent only where an image has its own.
func (c *checker) program(command []string, own bool, path ...any) {
	parent := path[:len(path)-1]
	if !c.set(parent...) || len(path) == 2 && !c.set(path...) {
		return
	}
	if len(command) == 0 && !own && c.clean(pathText(path)) {
		at := path
		if !c.set(path...) {
			at = parent
		}
		c.fault(fmt.Sprintf("`%s` needs a command", pathText(parent)), "only with build.image or build.dockerfile is the image's own command taken", at...)
		return
	}
	for i, word := range command {
		if strings.ContainsRune(word, 0) || i == 0 && strings.TrimSpace(word) == "" {
			c.fault("the program's name is empty", "", append(slices.Clip(path), i)...)
		}
	}
	if len(command) == 1 && strings.Contains(strings.TrimSpace(command[0]), " ") {
		c.fault(fmt.Sprintf("%s is one word with spaces in it; no program has that name", quote(command[0])),
			commandHint(textNode(command[0], place{})), append(slices.Clip(path), 0)...)
	}
}

// within checks that a path stays in the model's folder.
func (c *checker) within(file string, path ...any) bool {
	problem := ""
	switch {
	case strings.HasPrefix(file, "/"):
		problem = "is absolute"
	case strings.Contains(file, `\`):
		problem = "has a backslash; write /"
	case slices.Contains(strings.Split(file, "/"), ".."):
		problem = "leaves the model's folder"
	case hasControl(file):
		problem = "has an invisible character"
	}
	if problem == "" {
		return true
	}
	hint := "write a path within the folder; `shared` brings other folders in"
	c.fault(fmt.Sprintf("the path %s %s", quote(file), problem), hint, path...)
	return false
}

func (c *checker) builds() {
	build := c.spec.Build
	if c.spec.Card != "" {
		c.within(c.spec.Card, "card")
	}
	if build == nil {
		return
	}
	if build.Image != "" && build.Dockerfile != "" {
		c.fault("`build` has an image or a dockerfile, not both", "delete one of them", "build", "image")
	}
	if build.Dockerfile != "" {
		c.within(build.Dockerfile, "build", "dockerfile")
	}
	for _, key := range []string{"version", "packages", "command"} {
		switch {
		case !c.set("build", key):
		case build.Image != "":
			c.fault(fmt.Sprintf("`%s` has no meaning beside `image`: the image is complete", key), "delete it, or build with a dockerfile", "build", key)
		case build.Dockerfile != "":
			c.fault(fmt.Sprintf("`%s` has no meaning beside `dockerfile`", key), "do it in the Dockerfile", "build", key)
		}
	}
}

func (c *checker) files() {
	seen := map[string]int{}
	for i, file := range c.spec.Files {
		if file.Path != "" && c.within(file.Path, "files", i, "path") {
			clean := cleanPath(file.Path)
			if first, there := seen[clean]; there {
				c.fault(fmt.Sprintf("%s is there twice; first in %s", quote(file.Path), c.line("files", first)), "", "files", i, "path")
			} else {
				seen[clean] = i
			}
			if clean == fileName {
				c.fault("a fetched file can't be the model.yaml itself", "", "files", i, "path")
			}
			c.spec.Files[i].Path = clean
		}
		if u, err := url.Parse(file.URI); file.URI != "" && (err != nil || u.Host == "" && u.Path == "") {
			c.fault(fmt.Sprintf("%s is not a URI", quote(file.URI)), "write it as in gs://bucket/model.rds", "files", i, "uri")
		} else if file.URI != "" && u.User != nil {
			c.fault("a URI must not have a password in it", "the server's own rights are used", "files", i, "uri")
		}
	}
}

func (c *checker) environment() {
	from := map[string]string{}
	for _, name := range sortedKeys(c.spec.Env) {
		c.variable(name, "env", name)
		from[name] = "env"
	}
	for i, secret := range c.spec.Secrets {
		if secret.Env == "" {
			continue
		}
		c.variable(secret.Env, "secrets", i, "env")
		if from[secret.Env] != "" {
			c.fault(fmt.Sprintf("the variable %s is set twice, first under `%s`", secret.Env, from[secret.Env]), "", "secrets", i, "env")
		}
		from[secret.Env] = "secrets"
	}
	for i, address := range c.spec.Network {
		port, err := strconv.Atoi(address[strings.LastIndex(address, ":")+1:])
		if address != "" && (err != nil || port < 1 || port > 65535) {
			c.fault(fmt.Sprintf("%s has no port between 1 and 65535", quote(address)), "write host:443", "network", i)
		}
	}
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (c *checker) variable(name string, path ...any) {
	switch {
	case !variableName.MatchString(name):
		c.fault(fmt.Sprintf("%s can't be a variable's name", quote(name)), "write letters, digits and underscores", path...)
	case strings.HasPrefix(name, "MM_"):
		c.fault(fmt.Sprintf("variables that begin with MM_ are Model Manager's own, such as %s", name), "take another name", path...)
	case name == "HOME" || name == "TMPDIR" || name == "PORT":
		c.fault(fmt.Sprintf("%s is set by Model Manager", name), "delete it", path...)
	}
}
