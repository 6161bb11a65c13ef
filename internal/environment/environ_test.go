package environment_test

import (
	"slices"
	"testing"

	"modelmanager.dev/internal/environment"
)

func TestBuildsSeeNoTokens(t *testing.T) {
	for _, name := range []string{"MM_TOKEN", "GITHUB_TOKEN", "CI_JOB_TOKEN", "AWS_SECRET_ACCESS_KEY", "DOCKER_AUTH_CONFIG", "FEATURE_STORE"} {
		t.Setenv(name, "hidden")
	}
	for _, name := range []string{"PIP_INDEX_URL", "RENV_PATHS_CACHE", "HTTPS_PROXY"} {
		t.Setenv(name, "shown")
	}
	got := environment.Environ()
	for _, variable := range got {
		if slices.Contains([]string{
			"MM_TOKEN=hidden", "GITHUB_TOKEN=hidden", "CI_JOB_TOKEN=hidden", "AWS_SECRET_ACCESS_KEY=hidden", "DOCKER_AUTH_CONFIG=hidden", "FEATURE_STORE=hidden",
		}, variable) {
			t.Errorf("a build sees %s", variable)
		}
	}
	for _, want := range []string{"PIP_INDEX_URL=shown", "RENV_PATHS_CACHE=shown", "HTTPS_PROXY=shown"} {
		if !slices.Contains(got, want) {
			t.Errorf("a build doesn't see %s", want)
		}
	}
}
