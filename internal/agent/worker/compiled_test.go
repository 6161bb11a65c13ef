package worker_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shims"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/needs"
)

// compiled asks the same of a model in a compiled language: y = factor·x; 13
// is refused, 14 fails the call.
func compiled(t *testing.T, dir string, command []string) {
	t.Helper()
	o := options(t, spec.Run{Command: command}, dir)
	o.Spec.Params = map[string]any{"factor": 3}
	o.Spec.Resources.Memory = 1 << 30
	s := supervise(t, o)
	answer, err := s.Predict(within(t, time.Minute), record(t, 1, 13, 2.5))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := predicted(t, o.Spec.Predictions, answer, 3), `[{"y":3},{"y":null},{"y":7.5}] 1:unlucky`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	_, err = s.Predict(within(t, time.Minute), record(t, 14))
	if modelmanager.CodeOf(err) != modelmanager.CodeModelError || worker.Lost(err) || !strings.Contains(err.Error(), "fourteen") {
		t.Errorf("got %v", err)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func runIn(t *testing.T, dir string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, output)
	}
}

func TestGo(t *testing.T) {
	needs.Program(t, "go")
	dir := t.TempDir()
	write(t, dir, "go.mod", "module model\n\ngo 1.21\n")
	write(t, dir, "worker.go", string(shims.Go()))
	write(t, dir, "main.go", `package main

func main() {
	Serve(func(rows []map[string]any, params map[string]any) ([]map[string]any, error) {
		refused := RowErrors{}
		answers := make([]map[string]any, len(rows))
		for i, row := range rows {
			switch x := row["x"].(float64); x {
			case 13:
				refused[i] = "unlucky"
			case 14:
				panic("fourteen")
			default:
				answers[i] = map[string]any{"y": params["factor"].(float64) * x}
			}
		}
		if len(refused) > 0 {
			return answers, refused
		}
		return answers, nil
	})
}
`)
	runIn(t, dir, "go", "build", "-o", "model", ".")
	compiled(t, dir, []string{"./model"})
}

func TestJava(t *testing.T) {
	needs.Program(t, "javac")
	dir := t.TempDir()
	write(t, dir, "ModelWorker.java", string(shims.Java()))
	write(t, dir, "Model.java", `
import java.util.*;

public class Model {
    public static void main(String[] args) throws Exception {
        ModelWorker.run(rows -> {
            Map<Integer, String> refused = new HashMap<>();
            List<Map<String, Object>> answers = new ArrayList<>();
            for (int i = 0; i < rows.size(); i++) {
                double x = (Double) rows.get(i).get("x");
                if (x == 13) refused.put(i, "unlucky");
                if (x == 14) throw new IllegalStateException("fourteen");
                answers.add(Map.of("y", (Double) ModelWorker.params().get("factor") * x));
            }
            if (!refused.isEmpty()) throw new ModelWorker.RowErrors(refused);
            return answers;
        });
    }
}
`)
	runIn(t, dir, "javac", "--release", "11", "-Werror", "-Xlint:all", "Model.java", "ModelWorker.java")
	compiled(t, dir, []string{"java", "-cp", ".", "Model"})
}
