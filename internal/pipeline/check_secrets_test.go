package pipeline

import (
	"path/filepath"
	"strings"
	"testing"

	"modelmanager.dev/internal/spec"
)

// The secrets below are made up; they are put together here, so that other
// scanners don't find them in this file.
func TestSecrets(t *testing.T) {
	random := "q7Zt2Lw9Xc4Vb8Nm1Kj6Hg3Fd5Sa0Pp2Oi4Uy6Tr8Ee"
	for _, test := range []struct {
		line, want string
		severity   Severity
	}{
		{"-----BEGIN RSA " + "PRIVATE KEY-----", "a private key", SeverityError},
		{"-----BEGIN OPENSSH " + "PRIVATE KEY-----", "a private key", SeverityError},
		{"key = 'AKIA" + "Q3EGRNVL7W2XMDPJ'", "an AWS access key", SeverityError},
		{"aws_secret_access_key = " + random[:40], "an AWS secret key", SeverityError},
		{"token: ghp_" + random[:36], "a GitHub token", SeverityError},
		{"glpat-" + random[:20], "a GitLab token", SeverityError},
		{"HF = \"hf_" + random[:34] + "\"", "a Hugging Face token", SeverityError},
		{"AccountKey=" + (random + random)[:86] + "==", "a key of an Azure storage account", SeverityError},
		{"url = 'postgresql://scorer:" + "hunter2-9431@db.internal:5432/scores'", "a password in an address", SeverityWarning},
		{"db_password = '" + random[:20] + "'", "a password or a key", SeverityWarning},
		{"\"api_key\": \"" + random[:24] + "\"", "a password or a key", SeverityWarning},

		// What only looks like one.
		{"key = 'AKIAIOSFODNN7EXAMPLE'", "", ""},
		{"password = os.environ['DATABASE_PASSWORD']", "", ""},
		{"password: ${DATABASE_PASSWORD}", "", ""},
		{"token = 'your-token-goes-here'", "", ""},
		{"url = 'https://user:password@example.org'", "", ""},
		{"url = 'postgresql://user:${PASSWORD}@db/scores'", "", ""},
		{"secret_name = 'feature-store-reader'", "", ""},
		{"the password is read from the environment", "", ""},
		{"tokens = ['the', 'cat', 'sat', 'on', 'the', 'mat']", "", ""},
		{"tokenizer = 'bert-base-multilingual-cased'", "", ""},
		{"sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "", ""},
		{"numpy==2.1.0 --hash=sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "", ""},
		{"max_tokens: 4096", "", ""},
		{"token = 'ghp_" + random[:36] + "'  # gitleaks:allow", "", ""},
	} {
		path := filepath.Join(t.TempDir(), "file.txt")
		write(t, path, "first line\n"+test.line+"\n")
		findings := secretsIn(spec.FileRef{Path: "file.txt", Source: path, Size: int64(len(test.line)) + 12})
		if test.want == "" {
			if len(findings) > 0 {
				t.Errorf("%q is taken for a secret: %s", test.line, findings[0].Message)
			}
			continue
		}
		if len(findings) != 1 || !strings.HasSuffix(findings[0].Message, test.want) || findings[0].Line != 2 || findings[0].Severity != test.severity {
			t.Errorf("%q: %+v", test.line, findings)
			continue
		}
		_, _, secret := secretIn(test.line)
		if f := findings[0]; strings.Contains(f.Message+f.Suggestion+f.Snippet, secret) {
			t.Errorf("the secret of %q is shown", test.line)
		}
		if shown := covered("before\n" + test.line + " and more\n"); strings.Contains(shown, secret) || !strings.Contains(shown, "before") {
			t.Errorf("%q is shown as %q", test.line, shown)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	for name, want := range map[string]int{
		".env": 1, ".env.production": 1, "deploy/.env": 1, "id_rsa": 1, "key.p12": 1,
		".env.example": 0, "environment.py": 0, "predict.py": 0,
	} {
		path := filepath.Join(t.TempDir(), filepath.Base(name))
		write(t, path, "A_VARIABLE=some value or other\n")
		if findings := secretsIn(spec.FileRef{Path: name, Source: path, Size: 31}); len(findings) != want {
			t.Errorf("%s: %v", name, findings)
		}
	}
}

// TestModelsHaveNoSecrets holds the examples' own files against false alarms.
func TestModelsHaveNoSecrets(t *testing.T) {
	dirs, err := ModelFolders("../../examples/models")
	if err != nil || len(dirs) == 0 {
		t.Fatal(dirs, err)
	}
	for _, dir := range dirs {
		folder, err := spec.LoadFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		if findings := checkSecrets(folder); len(findings) > 0 {
			t.Errorf("%s: %+v", dir, findings)
		}
	}
}
