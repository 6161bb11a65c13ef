package spec

// modelShape describes model.yaml whole: its keys, their types and bounds, and
// what editors show about them. What depends on several keys is in the checks.
var modelShape = newModelShape()

const (
	dnsLabel     = `^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`
	dnsSubdomain = `^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`
	relativePath = `^[^/\\:*?"<>|]([^\\:*?"<>|]*[^/\\:*?"<>|])?$`
)

func newModelShape() *shape {
	return object("a model.yaml", "A model: what it asks for, what it answers and how it is run.",
		need("name", text("The model's name, unique among all models: lower-case letters, digits and hyphens, at most 40.").
			matching(dnsLabel, "lower-case letters, digits and hyphens, at most 40, beginning and ending with a letter or digit").hinting(nameHint)),
		need("summary", text("One sentence that says what the model predicts, for people who look for it.").notBlank().atMost(300)),
		need("owner", text("Who answers for the model: an e-mail address or a team.").notBlank().atMost(200)),
		may("labels", dict("Labels to find the model by: customer: st-mary.", text("").atMost(200))),
		may("card", text("A Markdown file that describes the model to people; README.md by default.").matching(relativePath, "a path within the model's folder")),
		may("serve", list("How the model is asked: realtime, batch or both (the default).", oneOf("", "realtime", "batch")).items(1, 2)),
		may("rows", oneOf("independent: predict scores each row by itself. dependent: predictions look across the rows of a call.", "independent", "dependent").byDefault("independent")),
		need("features", list("The model's inputs, in the order in which the worker gets them.", featureShape()).items(1, 10000)),
		need("predictions", list("The model's outputs.", predictionShape()).items(1, 1000)),
		need("run", runShape()),
		may("build", buildShape()),
		may("files", list("Large artifacts that are fetched and verified at publishing, and part of the version.", fileShape()).items(0, 1000)),
		may("extends", text("A folder, relative to this one, whose model.yaml is this one's base and whose files lie under this folder's.").notBlank().atMost(1000)),
		may("shared", list("Folders, relative to this one, that belong to this model too; each lies in it under its own name.", text("").notBlank().atMost(1000)).items(0, 100)),
		may("params", dict("Handed to predict, and to the worker as $MM_PARAMS.", anything(""))),
		may("env", dict("Environment variables of the worker.", text("").atMost(32768))),
		may("secrets", list("Environment variables whose values the platform holds.", object("a secret", "",
			need("env", text("The variable's name.").matching(`^[A-Za-z_][A-Za-z0-9_]*$`, "letters, digits and underscores")),
			need("name", text("The secret's name on the platform.").matching(dnsSubdomain, "lower-case letters, digits, hyphens and dots")),
		)).items(0, 200)),
		may("network", list("Where the worker may connect to, as host:port; nowhere by default.",
			text("").matching(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$`, "host:port").hinting(networkHint)).items(0, 100)),
		may("identity", text("The platform's account (on Kubernetes a ServiceAccount) under which the worker runs.").matching(dnsSubdomain, "lower-case letters, digits, hyphens and dots")),
		may("resources", resourcesShape()),
		may("timeouts", object("timeouts", "How long things may take.",
			may("start", duration("From the worker's start until it is ready.", "60s")),
			may("predict", duration("One call of the worker.", "30s")),
		).instead("timeout", "there are two: start and predict", "load", "write start", "request", "write predict")),
		may("scale", object("scale", "How many replicas answer in real time.",
			may("min", integer("Replicas that always run.", 0, 1000).byDefault(0)),
			may("max", integer("Replicas at most.", 1, 1000).byDefault(10)),
			may("concurrency", integer("Requests in flight that a replica aims at.", 1, 10000).byDefault(8)),
			may("idle", duration("How long without a request until a replica stops.", "10m")),
		).instead("replicas", "write min and max", "minReplicas", "write min", "maxReplicas", "write max", "min_replicas", "write min", "max_replicas", "write max")),
		may("batch", object("batch", "How jobs are cut up.",
			may("rows_per_shard", integer("Rows of one shard.", 1, 1e9).byDefault(100000)),
			may("rows_per_call", integer("Rows of one call of the worker.", 1, 1e7).byDefault(10000)),
			may("parallelism", integer("Shards at a time.", 1, 10000).byDefault(20)),
			may("timeout", duration("A whole job, while shards of it run: waiting for others, or for the server, doesn't count.", "2h")),
			may("retries", integer("How often a shard is tried again after a fault that isn't the model's.", 0, 100).byDefault(3)),
		).instead("chunk_size", "write rows_per_call", "batch_size", "write rows_per_call")),
		may("rollout", rolloutShape()),
		may("training", trainingShape()),
		need("examples", list("Rows with the predictions expected of them; publishing runs them. At least one.", exampleShape()).items(1, 10000)),
	).instead(
		"inputs", "write features", "input", "write features", "outputs", "write predictions", "output", "write predictions",
		"targets", "write predictions", "target", "write predictions", "description", "write summary; longer texts belong in README.md",
		"version", "delete it: publishing numbers versions by itself", "entrypoint", "write run: {python: predict.py:predict}",
		"python", "write run: {python: predict.py:predict}", "command", "write run: {command: […]}", "language", "write run: {python: …} or run: {r: …}",
		"requirements", "put a requirements.txt beside model.yaml", "dependencies", "put a requirements.txt (Python) or renv.lock (R) beside model.yaml",
		"author", "write owner", "tags", "write labels", "parameters", "write params", "environment", "write env for variables, build for packages",
		"tests", "write examples", "example", "write examples", "template", "write extends", "timeout", "write timeouts: {predict: 30s}",
		"memory", "write resources: {memory: 512Mi}", "cpu", "write resources: {cpu: 500m}", "dockerfile", "write build: {dockerfile: Dockerfile}", "image", "write build: {image: …}",
		"docker", "write build: {dockerfile: Dockerfile}", "metrics", "write training: {metrics: …}",
	)
}

func runShape() *shape {
	command := func(doc string) *shape { return list(doc, text("").atMost(4096)).items(0, 200) }
	s := object("run", "How the model is run: exactly one of these.",
		may("python", text("FILE:FUNCTION; def predict(rows[, params]) gets a DataFrame.").
			matching(`^[^:\\]+\.py:[A-Za-z_][A-Za-z0-9_]*$`, "FILE:FUNCTION, such as predict.py:predict").hinting(callHint(".py"))),
		may("r", text("FILE:FUNCTION; function(rows[, params]) gets a data.frame.").
			matching(`^[^:\\]+\.[rR]:[A-Za-z.][A-Za-z0-9._]*$`, "FILE:FUNCTION, such as predict.R:predict").hinting(callHint(".R"))),
		may("command", command("A program that speaks the worker protocol, and its arguments.").hinting(commandHint)),
		may("http", object("run.http", "A server of the model's own; it listens on 127.0.0.1:$MM_PORT.",
			may("command", command("The server and its arguments; may be absent where an image has its own.").hinting(commandHint)),
			may("ready", text("The path that answers 200 once the model is loaded.").matching(`^/`, "a path that begins with /").byDefault("/healthz")),
			may("path", text("The path that predicts.").matching(`^/`, "a path that begins with /").byDefault("/invocations")),
			may("format", oneOf("The form of requests and answers.", "rows", "columns", "instances", "dataframe_split", "v2", "csv").byDefault("rows")),
			may("envelope", dict("Merged into every request.", anything(""))),
		)),
		may("job", object("run.job", "A program that reads the file $MM_INPUT and writes the file $MM_OUTPUT: same rows, same order. Batch only.",
			may("command", command("The program and its arguments; may be absent where an image has its own.").hinting(commandHint)),
		)),
	).instead("R", "write r, in lower case", "java", "write command: [java, …]", "go", "write command: [./model]", "script", "write python or r", "cmd", "write command", "module", "write python: predict.py:predict", "function", "write python: predict.py:predict")
	s.single = true
	return s
}

func buildShape() *shape {
	return object("build", "How the model's environment is made.",
		may("version", text("Of the language.").matching(`^[0-9]+(\.[0-9]+){0,2}$`, `a version such as "3.12"`)),
		may("packages", list("Packages of the operating system (Debian).", text("").matching(`^[a-z0-9][a-z0-9+.-]*(=[A-Za-z0-9.+:~-]+)?$`, "a Debian package's name")).items(0, 200)),
		may("command", list("Builds the model in its folder; what it writes there joins the artifact.", text("").atMost(4096)).items(1, 200).hinting(commandHint)),
		may("dockerfile", text("A Dockerfile of the folder that makes the model's image.").matching(relativePath, "a path within the model's folder")),
		may("image", text("An image that exists, by digest.").matching(`^[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$`, "an image by digest: registry/name@sha256:…").hinting(imageHint)),
	).instead("python", "write version", "requirements", "put a requirements.txt beside model.yaml", "pip", "put a requirements.txt beside model.yaml", "apt", "write packages", "system_packages", "write packages", "python_version", "write version")
}

func fileShape() *shape {
	return object("a file", "",
		need("path", text("Where the file lies in the model's folder.").matching(relativePath, "a path within the model's folder")),
		need("uri", text("Where it is fetched from.").matching(`^[a-z][a-z0-9+.-]*://.+$`, "a URI such as gs://bucket/model.rds")),
		need("sha256", text("Its SHA-256, 64 hexadecimal digits.").matching(`^[0-9a-f]{64}$`, "64 hexadecimal digits, lower case").hinting(hashHint)),
	).instead("url", "write uri", "name", "write path", "hash", "write sha256", "checksum", "write sha256", "source", "write uri")
}

func resourcesShape() *shape {
	return object("resources", "What a worker may use.",
		may("cpu", &shape{kind: shapeCPU, doc: "Cores: 500m is half of one.", fallback: "500m"}).named("cpu_milli"),
		may("memory", &shape{kind: shapeBytes, doc: "Memory; a worker that takes more is ended.", fallback: "512Mi"}).named("memory_bytes"),
		may("disk", &shape{kind: shapeBytes, doc: "What it may write.", fallback: "1Gi"}).named("disk_bytes"),
	).instead("ram", "write memory", "mem", "write memory", "cpus", "write cpu", "gpu", "graphics processors are not supported", "limits", "write cpu, memory and disk without limits and requests", "requests", "write cpu, memory and disk without limits and requests", "storage", "write disk")
}

func (k key) named(as string) key { k.as = as; return k }

func rolloutShape() *shape {
	return object("rollout", "How a new version takes traffic.",
		may("strategy", oneOf("manual: somebody promotes it. immediate: all at once. canary: in steps.", "manual", "immediate", "canary").byDefault("immediate")),
		may("steps", list("Of a canary: percentages, ascending; 100 follows the last.", integer("", 1, 100)).items(1, 20)),
		may("pause", duration("Of a canary: how long each step lasts.", "5m")),
		may("back_when", object("back_when", "Of a canary: go back by itself when one of these is passed.",
			may("errors", share("Share of calls that fail, 0 to 1.")),
			may("p99", &shape{kind: shapeTime, doc: "Latency of the slowest hundredth."}),
			may("out_of_range", share("Share of predictions outside their declared range, 0 to 1.")),
		)),
	)
}

func trainingShape() *shape {
	s := object("training", "Where the model comes from: shown and compared.",
		may("data", anything("What it was trained on.")),
		may("from", anything("The first day of the data.")),
		may("to", anything("The last day of the data.")),
		may("rows", integer("How many rows.", 0, 1e15)),
		may("metrics", dict("How good it is: auc: 0.97.", number(""))),
	)
	s.others = anything("")
	return s
}

func exampleShape() *shape {
	zero := 0.0
	return object("an example", "",
		may("name", text("Shown when it fails.").atMost(200)),
		need("features", dict("The row: a value for every feature.", &shape{kind: shapeScalar}).called("an example's features")),
		may("predictions", dict("What the model must answer; without it, that it answers.", &shape{kind: shapeScalar}).called("an example's predictions")),
		may("tolerance", &shape{kind: shapeNumber, doc: "How far a predicted number may be off, absolutely.", min: &zero}),
	).instead("input", "write features", "inputs", "write features", "output", "write predictions", "expected", "write predictions", "outputs", "write predictions")
}
