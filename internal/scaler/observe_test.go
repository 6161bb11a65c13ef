package scaler

import (
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

func TestVersionsForJobsAloneHaveNoMinimum(t *testing.T) {
	for _, test := range []struct {
		serve []modelmanager.Mode
		want  int
	}{
		{[]modelmanager.Mode{modelmanager.RealTime, modelmanager.Batch}, 2},
		{[]modelmanager.Mode{modelmanager.RealTime}, 2},
		{[]modelmanager.Mode{modelmanager.Batch}, 0},
	} {
		if got := scaleOf(&spec.Spec{Serve: test.serve, Scale: spec.Scale{Min: 2, Max: 3}}); got.Min != test.want || got.Max != 3 {
			t.Errorf("%v: %+v", test.serve, got)
		}
	}
}
