package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"proxima/geo"
	"proxima/healthcheck"
	"proxima/router"

	"go.yaml.in/yaml/v4"
)

// mustParse reads a configuration that is valid.
func mustParse(t *testing.T, file string) *Config {
	t.Helper()
	c, err := Parse("proxima.yaml", []byte(file), env)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryExampleIsValid(t *testing.T) {
	probes := map[string]string{
		"minimal": "/health", "full": "/health", "vllm": "/health", "llamacpp": "/health",
		"ollama": "/api/version", "triton": "/v2/health/ready",
	}
	for name, probe := range probes {
		c, err := Load(name+".example.yaml", env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		table, err := c.Table()
		if err != nil || len(table.Regions) < 3 || len(table.Endpoints) < 3 {
			t.Errorf("%s: not three regions with an endpoint each (%v)", name, err)
		}
		if got := c.Policy().Path; got != probe {
			t.Errorf("%s: probes ask for %s, want %s", name, got, probe)
		}
	}
	files, err := filepath.Glob("*.example.yaml")
	if err != nil || len(files) != len(probes) {
		t.Errorf("%d examples, %d of them tested (%v)", len(files), len(probes), err)
	}
}

func TestTheFullExampleExplainsEveryOption(t *testing.T) {
	data, err := os.ReadFile("full.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	root, ok := tree(data, newReport("full.example.yaml"))
	if !ok {
		t.Fatal("the file cannot be read")
	}
	explained(t, reflect.TypeFor[Config](), []spot{root})
}

// explained looks for every option of a struct in some of the spots, and for a
// comment above it that names its default.
func explained(t *testing.T, group reflect.Type, spots []spot) {
	for _, o := range options(group) {
		var children []spot
		for _, s := range spots {
			if child := s.in(o.name); child.node != nil {
				children = append(children, child)
			}
		}
		if len(children) == 0 {
			t.Errorf("no %s in %s", o.name, spots[0].path)
			continue
		}
		field := group.FieldByIndex(o.index).Type
		if field.Kind() == reflect.Slice && len(children[0].node.Content) == 0 {
			sampled(t, field.Elem(), children[0].path, commentAbove(spots, o.name))
			continue
		}
		if comment := commentAbove(spots, o.name); comment != "" && o.tag.Get("default") != "" &&
			!strings.Contains(comment, "Default "+o.tag.Get("default")+".") {
			t.Errorf("the comment above %s does not end in Default %s.", children[0].path, o.tag.Get("default"))
		}
		switch {
		case o.tag.Get("keyed") != "":
			explained(t, field.Elem(), entriesOf(children))
		case field.Kind() == reflect.Slice && field.Elem().Kind() == reflect.Struct && field.Elem() != reflect.TypeFor[Prefix]():
			explained(t, field.Elem(), itemsOf(children))
		case field.Kind() == reflect.Struct && field != reflect.TypeFor[Place]() && field != reflect.TypeFor[Prefix]() && field != reflect.TypeFor[URL]():
			explained(t, field, children)
		}
	}
}

// sampled looks for every option of an empty list's entries in the comment above it.
func sampled(t *testing.T, entry reflect.Type, path, comment string) {
	for _, o := range options(entry) {
		if !strings.Contains(comment, o.name+": ") {
			t.Errorf("the comment above %s shows no %s", path, o.name)
		}
	}
}

func commentAbove(spots []spot, name string) string {
	for _, s := range spots {
		for i := 0; s.node.Kind == yaml.MappingNode && i < len(s.node.Content); i += 2 {
			if key := s.node.Content[i]; key.Value == name && key.HeadComment != "" {
				return key.HeadComment
			}
		}
	}
	return ""
}

func entriesOf(spots []spot) (all []spot) {
	for _, s := range spots {
		for _, child := range s.entries() {
			all = append(all, child)
		}
	}
	return all
}

func itemsOf(spots []spot) (all []spot) {
	for _, s := range spots {
		for i := range s.node.Content {
			all = append(all, s.at(i))
		}
	}
	return all
}

func TestEveryTagIsWellFormed(t *testing.T) {
	wellFormed(t, reflect.TypeFor[Config]())
}

func wellFormed(t *testing.T, group reflect.Type) {
	for _, o := range options(group) {
		field := reflect.New(group.FieldByIndex(o.index).Type).Elem()
		if doc := o.tag.Get("doc"); doc == "" || strings.HasSuffix(doc, ".") {
			t.Errorf("%s.%s: doc is %q", group.Name(), o.name, doc)
		}
		if text, has := o.tag.Lookup("default"); has {
			if bad := set(field, text); bad != nil {
				t.Errorf("%s.%s: default %q %s", group.Name(), o.name, text, bad.what)
			} else if what, _ := outside(field, text, o.tag); what != "" {
				t.Errorf("%s.%s: default %q %s", group.Name(), o.name, text, what)
			}
		}
		value := field
		if field.Kind() == reflect.Pointer {
			value = reflect.New(field.Type().Elem()).Elem()
		}
		number := value.CanInt() || value.CanFloat()
		if number && o.tag.Get("range") == "" {
			t.Errorf("%s.%s: a number without a range", group.Name(), o.name)
		}
		switch {
		case isScalar(field):
		case field.Kind() == reflect.Struct:
			wellFormed(t, field.Type())
		case o.tag.Get("limit") == "":
			t.Errorf("%s.%s: a list without a limit", group.Name(), o.name)
		case field.Type().Elem().Kind() == reflect.Struct && field.Type().Elem() != reflect.TypeFor[Prefix]():
			wellFormed(t, field.Type().Elem())
		}
	}
}

func TestTheDefaultsAreThese(t *testing.T) {
	c := mustParse(t, head+tail)
	written, err := c.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/defaults.golden", string(written))
	if got, want := c.Policy(), healthcheck.DefaultPolicy(); !reflect.DeepEqual(got, want) {
		t.Errorf("policy %+v, but healthcheck's default is %+v", got, want)
	}
}

func TestTheTableIsWhatTheFileSays(t *testing.T) {
	c := mustParse(t, `
version: 1
regions:
  lab-berlin: {lat: 52.52, lon: 13.40, country: DE, bias: -2ms}
  us-east1:
endpoints:
  - {url: "https://Models.example.net/gpu", region: us-east1, capacity: 8, max_in_flight: 4}
  - {id: lab, url: "http://[2001:db8::7]:8000", region: lab-berlin, models: [a, b]}
  - {url: "http://[2001:db8::8]", region: lab-berlin}
steering:
  by: path
  slack: 1ms
  max_detour: 80ms
  shed: {batch: 0.5, standard: 3}
  residency: [{name: eu, countries: [DE, FR], regions: [lab-berlin]}]
health: {slow_start: 3s}
`)
	table, err := c.Table()
	if err != nil {
		t.Fatal(err)
	}
	var regions []string
	for _, r := range table.Regions {
		regions = append(regions, string(r.ID)+" "+r.Place.Country+" "+r.Bias.String())
	}
	var endpoints []string
	for _, e := range table.Endpoints {
		endpoints = append(endpoints, fmt.Sprintf("%s %s %s %d/%d", e.ID, e.URL, e.Region, e.MaxInFlight, e.Capacity))
	}
	if want := []string{"lab-berlin DE -2ms", "us-east1 US 0s"}; !slices.Equal(regions, want) {
		t.Errorf("regions %q, want %q", regions, want)
	}
	if want := []string{
		"lab http://[2001:db8::7]:8000 lab-berlin 0/0",
		"lab-berlin/[2001:db8::8]:80 http://[2001:db8::8] lab-berlin 0/0",
		"us-east1/models.example.net:443 https://Models.example.net/gpu us-east1 4/8",
	}; !slices.Equal(endpoints, want) {
		t.Errorf("endpoints %q, want %q", endpoints, want)
	}
	var shed router.Steering
	shed.Shed[router.Batch], shed.Shed[router.Standard] = 0.5, 3
	want := router.Steering{
		Shed: shed.Shed,
		By:   router.ByPath, Slack: 1e6, MaxDetour: 80e6, SlowStart: 3e9,
		Residency: []router.Residency{{Name: "eu", Countries: []string{"DE", "FR"}, Regions: []router.RegionID{"lab-berlin"}}},
	}
	if !reflect.DeepEqual(table.Steering, want) {
		t.Errorf("steering %+v, want %+v", table.Steering, want)
	}
}

func TestNetworksGetThePlacesOfTheFile(t *testing.T) {
	c := mustParse(t, head+tail+`
geo:
  overrides:
    - {cidr: 10.1.0.0/16, region: europe-west1}
    - {cidr: 10.2.0.0/16, lat: 48.9, lon: 2.4, country: FR}
    - {cidr: 10.3.0.0/16, country: JP}
  default: {region: us-east1}
`)
	locator := geo.Locator{Overrides: c.Overrides(), Default: c.DefaultLocation()}
	for client, country := range map[string]string{
		"10.1.2.3": "BE", "10.2.3.4": "FR", "10.3.4.5": "JP", "10.4.5.6": "US",
	} {
		if at := locator.Locate(address(t, client)); !at.Placed || at.Country != country {
			t.Errorf("%s is at %+v, want %s", client, at, country)
		}
	}
}

func TestAMarkAndWindowsLineEndsAndAliasesAreRead(t *testing.T) {
	plain := mustParse(t, head+tail+"health: {interval: 3s, timeout: 3s}\n")
	for name, file := range map[string]string{
		"byte order mark":   "\ufeff" + head + tail + "health: {interval: 3s, timeout: 3s}\n",
		"windows line ends": strings.ReplaceAll(head+tail, "\n", "\r\n") + "health:\r\n  interval: 3s\r\n  timeout: 3s\r\n",
		"alias":             head + tail + "health: {interval: &three 3s, timeout: *three}\n",
		"document end":      "---\n" + head + tail + "health: {interval: 3s, timeout: 3s}\n...\n",
	} {
		if change := Difference(plain, mustParse(t, file)); !change.None() {
			t.Errorf("%s: %s", name, change)
		}
	}
}

func TestRelativePathsBeginAtTheFile(t *testing.T) {
	c, err := Parse("testdata/proxima.yaml", []byte(head+tail+
		"admin: {listen: \"0.0.0.0:9090\", token_file: good.token}\nlog: {level: \"${file:level}\"}\n"), env)
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.Admin.Token()
	if err != nil || string(token) != "a-token-of-more-than-16-bytes" {
		t.Errorf("token %q, %v", token, err)
	}
	if c.Log.Level != "debug" {
		t.Errorf("level %q, want that of testdata/level", c.Log.Level)
	}
}

func TestTheHashIsThatOfTheFileUnlessSomethingIsSubstituted(t *testing.T) {
	sum := sha256.Sum256([]byte(head + tail))
	if got, want := mustParse(t, head+tail).Hash, hex.EncodeToString(sum[:]); got != want {
		t.Errorf("hash %s, want that of the file, %s", got, want)
	}
	file := []byte(head + tail + "log: {level: \"${LEVEL}\"}\n")
	hash := func(level string) string {
		c, err := Parse("proxima.yaml", file, func(string) (string, bool) { return level, true })
		if err != nil {
			t.Fatal(err)
		}
		return c.Hash
	}
	info, again, debug := hash("info"), hash("info"), hash("debug")
	if info != again || info == debug {
		t.Error("the hash does not follow what ${LEVEL} stands for")
	}
}

func TestRedactedShowsWhatIsWrittenAndReadsTheSame(t *testing.T) {
	file := head + "endpoints:\n  - {url: \"http://127.0.0.1:${PORT}\", region: us-east1, models: [\"a$$b\", \"${SECRET}\"]}\n" +
		"failover: {attempts: \"${TRIES:-5}\"}\n"
	c := mustParse(t, file)
	if c.Endpoints[0].URL.Port() != "9101" || c.Endpoints[0].Models[0] != "a$b" || c.Failover.Attempts != 5 {
		t.Fatalf("not substituted: %+v", c.Endpoints[0])
	}
	written, err := c.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"http://127.0.0.1:${PORT}", "${SECRET}", "${TRIES:-5}"} {
		if !strings.Contains(string(written), want) {
			t.Errorf("no %s in\n%s", want, written)
		}
	}
	if strings.Contains(string(written), "9101") || strings.Contains(string(written), "hunter2") {
		t.Errorf("it shows what a ${…} stands for:\n%s", written)
	}
	if change := Difference(c, mustParse(t, string(written))); !change.None() {
		t.Errorf("it reads differently: %s", change)
	}
}

// Wherever a secret is put by mistake, it is not told on.
func TestNoSecretReachesAMessage(t *testing.T) {
	const secret = "hunter2-hunter2"
	data, err := os.ReadFile("full.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Load(data, &document); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, node := range scalars(&document) {
		was := *node
		node.Value, node.Tag, node.Style = "${SECRET}", "!!str", yaml.DoubleQuotedStyle
		file, err := yaml.Dump(&document)
		if err != nil {
			t.Fatal(err)
		}
		*node = was
		tried++
		c, err := Parse("proxima.yaml", file, env)
		shown := ""
		if err != nil {
			shown = err.Error()
		} else {
			redacted, _ := c.Redacted()
			shown = string(redacted) + Difference(mustParse(t, head+tail), c).settingsOnly()
		}
		if strings.Contains(shown, secret) || strings.Contains(shown, "hunter") {
			t.Errorf("in place of %q the secret is shown:\n%s", was.Value, shown)
		}
	}
	if tried < 60 {
		t.Errorf("only %d places were tried", tried)
	}
}

// Wherever a key stands in the file, in the right place or not, it is shown to
// nobody.
func TestNoKeyOfTheFileIsShown(t *testing.T) {
	const secret = "hunter2-hunter2"
	for _, keys := range []string{
		`[{key: %s, priority: batch}]`, `[{key: %s, priority: %[1]s}]`, `[{key: %s0, priority: batch}, {key: %[1]s0, priority: batch}]`,
		`[{key: "%s\n", priority: batch}]`, `[{key: "%s", priority: 7}]`, `[{key: !!binary %s, priority: batch}]`, `[{key: *%s}]`,
		`[{key: &%s a, priority: batch}]`, `[{key: '%s, priority: batch}]`, `[{key: "\%s", priority: batch}]`, `[{key: @%s, priority: batch}]`,
		`[{key: !%s a, priority: batch}]`, `[{key: !%s!a a, priority: batch}]`, `[{key: {%s: batch}}]`, `[{key: [%s]}]`, `[{? [%s] : batch}]`,
		`[{key: "$%s", priority: batch}]`, `[{key: "${NO-%s", priority: batch}]`, `[{key: "${NO_SUCH:-%s}", priority: batch}]`,
		`[{key: "${NO SUCH:-%s}", priority: batch}]`, `[{key: "${file:no-such}%s", priority: batch}]`, `[{key: "%s${PORT}", priority: batch}]`,
		`{%s: batch}`, `%s`, `[%s]`, `[[%s]]`, `[{%s: batch}]`, `[{<<: %s}]`, `[{%s: a, %[1]s: b}]`, `[{key: a, key: %s}]`, `{a: {%s: {b: c}}}`,
		`[{key: 20061%[2]s, priority: batch}]`, `[{key: 20061%[2]s-01-01, priority: batch}]`,
	} {
		file := head + tail + "admission: {keys: " + fmt.Sprintf(keys, secret, "0000") + "}\n"
		c, err := Parse("proxima.yaml", []byte(file), env)
		told := fmt.Sprint(err)
		if err == nil {
			redacted, _ := c.Redacted()
			told = string(redacted) + Difference(mustParse(t, head+tail), c).String() +
				fmt.Sprintf("%v %+v %#v", c.Admission, c.Admission, c.Admission)
		}
		if strings.Contains(told, "hunter") || strings.Contains(told, "20061") {
			t.Errorf("keys: %s\nshows it: %s", keys, told)
		}
	}
}

func TestAKeyThatIsShownIsNoKey(t *testing.T) {
	c := mustParse(t, head+tail+"admission: {keys: [{key: hunter2-hunter2, priority: batch}, {key: \"${SECRET}3\", priority: batch}, "+
		"{key: \"${file:testdata/good.token}\", priority: critical}]}\n")
	written, err := c.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	const want = `
  keys:
  - key: '***'
    priority: batch
  - key: '***'
    priority: batch
  - key: "${file:testdata/good.token}"
    priority: critical
`
	if !strings.Contains(string(written), want) {
		t.Errorf("no %s in\n%s", want, written)
	}
	_, err = Parse("proxima.yaml", written, env)
	for _, p := range mustBeProblems(t, "proxima.yaml", err) {
		if p.What != "is not the key, only what is shown of it" {
			t.Errorf("got %v", p)
		}
	}
}

func TestAKeyGivesItsPriority(t *testing.T) {
	c := mustParse(t, head+tail+`admission:
  keys:
    - {key: "${SECRET}", priority: batch}
    - {key: "sk-${PORT}-chat", priority: critical}
    - {key: "${file:testdata/good.token}", priority: standard}
`)
	want := map[string]router.Priority{
		"hunter2-hunter2": router.Batch, "sk-9101-chat": router.Critical, "a-token-of-more-than-16-bytes": router.Standard,
	}
	if got := c.Admission.Priorities(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// settingsOnly is the part of a change that names no region, endpoint or rule.
func (c Change) settingsOnly() string {
	return Change{Settings: c.Settings, Restart: c.Restart}.String()
}

// scalars lists the values, not the keys, below a node.
func scalars(n *yaml.Node) (all []*yaml.Node) {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		if child.Kind == yaml.ScalarNode {
			all = append(all, child)
		}
		all = append(all, scalars(child)...)
	}
	return all
}
