package pipeline

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"modelmanager.dev/internal/spec"
)

// scanLimit is how large a file may be to be searched for secrets, in bytes.
const scanLimit = 2 << 20

// maxSecrets bounds the findings of one file.
const maxSecrets = 10

// secretKind is something that only a secret looks like.
type secretKind struct {
	name    string
	hint    string         // must be in a line for pattern to be tried; lower case
	pattern *regexp.Regexp // its first group, if it has one, is the secret itself
	random  float64        // bits of entropy a character that it must have; 0: any
	perhaps bool           // a guess: only a warning
}

// secretKinds is searched in this order; the first that matches a place names it.
var secretKinds = []secretKind{
	{name: "a private key", hint: "private key", pattern: regexp.MustCompile(`-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----`)},
	{name: "an AWS access key", hint: "a", pattern: regexp.MustCompile(`\b((?:AKIA|ASIA)[A-Z2-7]{16})\b`), random: 3},
	{name: "an AWS secret key", hint: "aws", pattern: regexp.MustCompile(`(?i)aws.{0,20}?secret.{0,20}?['"=:\s]\s*['"]?([A-Za-z0-9/+]{40})(?:['"\s]|$)`), random: 4},
	{name: "a key of an Azure storage account", hint: "accountkey", pattern: regexp.MustCompile(`AccountKey=([A-Za-z0-9+/]{86}==)`), random: 4},
	{name: "a Google API key", hint: "aiza", pattern: regexp.MustCompile(`\b(AIza[0-9A-Za-z_-]{35})\b`), random: 3.5},
	{name: "a GitHub token", hint: "gh", pattern: regexp.MustCompile(`\b(gh[pousr]_[A-Za-z0-9]{36,255})\b`), random: 3},
	{name: "a GitHub token", hint: "github_pat_", pattern: regexp.MustCompile(`\b(github_pat_[A-Za-z0-9_]{60,255})\b`), random: 3},
	{name: "a GitLab token", hint: "gl", pattern: regexp.MustCompile(`\b(gl(?:pat|ptt|rt|cbt|dt)-[A-Za-z0-9_-]{20,})\b`), random: 3},
	{name: "a Slack token", hint: "xox", pattern: regexp.MustCompile(`\b(xox[abeoprs]-[A-Za-z0-9-]{20,})\b`), random: 2.5},
	{name: "a Slack webhook", hint: "hooks.slack.com", pattern: regexp.MustCompile(`hooks\.slack\.com/services/(T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{20,})`)},
	{name: "a Stripe key", hint: "_live_", pattern: regexp.MustCompile(`\b([rs]k_live_[A-Za-z0-9]{20,})\b`), random: 3},
	{name: "a Hugging Face token", hint: "hf_", pattern: regexp.MustCompile(`\b(hf_[A-Za-z0-9]{30,})\b`), random: 3},
	{name: "an API key", hint: "sk-", pattern: regexp.MustCompile(`\b(sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{32,})\b`), random: 3.8},
	{name: "an npm token", hint: "npm_", pattern: regexp.MustCompile(`\b(npm_[A-Za-z0-9]{36})\b`), random: 3},
	{name: "a PyPI token", hint: "pypi-", pattern: regexp.MustCompile(`\b(pypi-[A-Za-z0-9_-]{50,})\b`), random: 3},
	{name: "a Databricks token", hint: "dapi", pattern: regexp.MustCompile(`\b(dapi[0-9a-f]{32})\b`), random: 2.8},
	{name: "a SendGrid key", hint: "sg.", pattern: regexp.MustCompile(`\b(SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64})`), random: 3.5},
	{name: "a signed token (JWT)", hint: "eyj", pattern: regexp.MustCompile(`\b(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})`), random: 3.5, perhaps: true},
	{name: "a password in an address", hint: "://", pattern: regexp.MustCompile(`\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'"<>{}$]{0,60}:([^\s/:@'"<>{}$]{4,100})@[A-Za-z0-9.-]+`), perhaps: true},
	{
		name: "a password or a key", hint: "", perhaps: true, random: 3.2,
		pattern: regexp.MustCompile(`(?i)(?:^|[^A-Za-z])[A-Za-z0-9_.-]{0,40}(?:password|passwd|pwd|secret|token|api_?key|access_?key|private_?key|credential)s?["']?\s*(?::|=|:=|<-)\s*["']([^"'\s]{12,200})["']`),
	},
}

// secretFiles hold nothing but secrets, by their names.
var secretFiles = []struct{ pattern, name string }{
	{".env", "variables with secrets"}, {".env.*", "variables with secrets"}, {"*.env", "variables with secrets"},
	{"id_rsa", "a private key"}, {"id_ecdsa", "a private key"}, {"id_ed25519", "a private key"}, {"id_dsa", "a private key"},
	{"*.p12", "a private key"}, {"*.pfx", "a private key"}, {"*.jks", "a private key"}, {"*.keystore", "a private key"}, {"*.ppk", "a private key"},
	{".netrc", "passwords"}, {".pgpass", "passwords"}, {".htpasswd", "passwords"}, {".git-credentials", "passwords"},
}

// templates of secret files hold no secrets.
var secretTemplate = regexp.MustCompile(`(?i)(example|sample|template|dist|defaults?)$`)

// placeholder is a value that stands for a secret, or says where to find it.
var placeholder = regexp.MustCompile(`(?i)^(?:x{4,}|\*{3,}|\.{3,})|example|change_?me|placeholder|your[-_ ]|dummy|redacted|insert[-_]|not[-_]?a[-_]?(?:real|secret)|fake|test|^\$|^%|\{\{|\$\{|<[^>]+>|environ|getenv|(?-i:^[A-Z][A-Z_]*[0-9]?$)|(?-i:^[a-z]+(?:[-_./][a-z]+)*$)`)

// allowed marks a line that looks like a secret and is none: the marks of other
// scanners, so that nobody needs another one.
var allowed = regexp.MustCompile(`(?i)gitleaks:allow|pragma: ?allowlist secret|nosec(?:ret)?\b`)

// checkSecrets searches a model's files for what looks like a secret. What it
// finds is named, and never shown.
func checkSecrets(folder *spec.Folder) []Finding {
	files := slices.Clone(folder.Files)
	for _, dir := range append([]string{folder.Root}, folder.Extends...) {
		file := filepath.Join(dir, "model.yaml") // which is no file of the model
		if info, err := os.Stat(file); err == nil {
			files = append(files, spec.FileRef{Path: "model.yaml", Source: file, Size: info.Size()})
		}
	}
	var findings []Finding
	for _, file := range files {
		findings = append(findings, secretsIn(file)...)
	}
	return findings
}

func secretsIn(file spec.FileRef) []Finding {
	name := path.Base(file.Path)
	for _, known := range secretFiles {
		if match, _ := path.Match(known.pattern, name); match && file.Size > 0 && !secretTemplate.MatchString(name) {
			return []Finding{secretFinding(file.Source, 0, 0, fmt.Sprintf("the file %s usually holds %s", name, known.name), SeverityError)}
		}
	}
	if file.Size > scanLimit || file.Size < 16 {
		return nil
	}
	data, err := os.ReadFile(file.Source)
	if err != nil || bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
		return nil // a binary file
	}
	var findings []Finding
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if len(line) < 16 || len(line) > 64<<10 || len(findings) >= maxSecrets {
			continue
		}
		if kind, column, _ := secretIn(string(line)); kind != nil {
			severity, text := SeverityError, "here is what looks like "+kind.name
			if kind.perhaps {
				severity, text = SeverityWarning, "here is what may be "+kind.name
			}
			findings = append(findings, secretFinding(file.Source, number, column, text, severity))
		}
	}
	return findings
}

func secretFinding(file string, line, column int, message string, severity Severity) Finding {
	return Finding{
		Code: FoundSecret, Severity: severity, File: file, Line: line, Column: column, Message: message,
		Suggestion: "take it out and revoke it: who can read the repository has it; name it under `secrets` in model.yaml, and the platform gives it to the worker. If it is none, end the line with a comment: gitleaks:allow",
	}
}

// secretIn returns the first secret of a line, and where it begins.
func secretIn(line string) (kind *secretKind, column int, secret string) {
	lower := strings.ToLower(line)
	for i := range secretKinds {
		kind := &secretKinds[i]
		if !strings.Contains(lower, kind.hint) {
			continue
		}
		at := kind.pattern.FindStringSubmatchIndex(line)
		if at == nil || allowed.MatchString(line) {
			continue
		}
		start, end := at[0], at[1]
		if len(at) > 2 && at[2] >= 0 {
			start, end = at[2], at[3]
		}
		secret := line[start:end]
		if kind.random > 0 && entropy(secret) < kind.random || strings.HasSuffix(secret, "EXAMPLE") {
			continue
		}
		if kind.perhaps && (placeholder.MatchString(secret) || !strings.ContainsAny(secret, "0123456789") && kind.random > 0) {
			continue
		}
		return kind, len([]rune(line[:start])) + 1, secret
	}
	return nil, 0, ""
}

// entropy is how many bits a character of a text carries, by how often its
// characters occur in it.
func entropy(text string) float64 {
	counts := map[rune]int{}
	n := 0
	for _, r := range text {
		counts[r]++
		n++
	}
	bits := 0.0
	for _, count := range counts {
		p := float64(count) / float64(n)
		bits -= p * math.Log2(p)
	}
	return bits
}

// covered replaces what looks like a secret in a text that is to be shown.
func covered(text string) string {
	if len(text) < 16 {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		for range maxSecrets {
			kind, _, secret := secretIn(line)
			if kind == nil || secret == "" {
				break
			}
			line = strings.ReplaceAll(line, secret, "•••")
		}
		lines[i] = line
	}
	return strings.Join(lines, "")
}
