package configs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// shards are what files go wrong with.
var shards = []string{
	"", " ", "\n", "\t", ":", "-", "- ", "[", "]", "{", "}", ",", "#", "'", "\"", "|", ">", "&a ", "*a", "!!binary ", "<<: ", "? ", "%",
	"---\n", "...\n", "\x00", "\xff", "\ufeff", "\r", "~", "null", "true", "yes", "0", "-1", "1e999", ".nan", ".inf", "99999999999999999999",
	"0x10", "2", "2s", "-2s", "1MiB", "${PORT}", "${SECRET}", "${NO_SUCH}", "${", "$", "$$", "${file:.}", "2001-01-01", "us-east1", "lab-berlin",
	"DE", "uk", "http://169.254.169.254", "127.0.0.1:9090", "id: us-1\n", "version: 1\n", "regions: {}\n", "  ", strings.Repeat("[", 40),
	"***", "key: hunter2-hunter2", "1.2", "tls: {certificates: [{certificate: testdata/public.pem, key: testdata/level}]}\n", "models: {llama-3-8b: {resume: true}}\n",
}

// valid says what a file may come to: a Config that works, or Problems that help.
func valid(t rapid.TB, file []byte) {
	c, err := Parse("proxima.yaml", file, env)
	if err != nil {
		mustBeProblems(t, "proxima.yaml", err)
		return
	}
	if _, err := c.Table(); err != nil {
		t.Fatalf("accepted, but there is no table of it: %v\n%s", err, file)
	}
	c.Overrides()
	c.DefaultLocation()
	for _, model := range c.Failover.OwnRules() {
		c.Failover.Rules(model)
	}
	written, err := c.Redacted()
	if err != nil {
		t.Fatalf("accepted, but it cannot be written: %v\n%s", err, file)
	}
	for i := range c.Admission.Keys { // what is not shown is put back
		written = bytes.Replace(written, []byte("key: '***'"), fmt.Appendf(nil, "key: redacted-%d", i), 1)
	}
	again, err := Parse("proxima.yaml", written, env)
	if err != nil {
		t.Fatalf("accepted, but not when written again: %v\n%s\n%s", err, file, written)
	}
	for i := range again.Admission.Keys {
		again.Admission.Keys[i].Key = c.Admission.Keys[i].Key
	}
	if change := Difference(c, again); !change.None() {
		t.Fatalf("it means something else when written again: %s\n%s\n%s", change, file, written)
	}
}

// mutate does to a file what people and editors do: cut, repeat, swap and replace.
func mutate(t *rapid.T, file string) string {
	at := rapid.IntRange(0, len(file)).Draw(t, "at")
	end := min(len(file), at+rapid.IntRange(0, 12).Draw(t, "length"))
	switch rapid.IntRange(0, 4).Draw(t, "how") {
	case 0:
		return file[:at] + file[end:]
	case 1:
		return file[:at] + file[at:end] + file[at:]
	case 2:
		return file[:at] + rapid.SampledFrom(shards).Draw(t, "shard") + file[end:]
	case 3:
		return file[:at] + rapid.SampledFrom(shards).Draw(t, "shard") + file[at:]
	}
	lines := strings.SplitAfter(file, "\n")
	one, other := rapid.IntRange(0, len(lines)-1).Draw(t, "line"), rapid.IntRange(0, len(lines)-1).Draw(t, "other line")
	lines[one], lines[other] = lines[other], lines[one]
	return strings.Join(lines, "")
}

// withoutComments makes mutations hit something that matters.
func withoutComments(file string) string {
	var b strings.Builder
	for line := range strings.Lines(file) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestAMutatedFileIsReadOrRefusedWithAReason(t *testing.T) {
	data, err := os.ReadFile("full.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	good := strings.Replace(withoutComments(string(data)), "keys: []", "keys: [{key: hunter2-hunter2, priority: batch}, {key: \"${SECRET}3\", priority: critical}]", 1)
	each := 100 // times rapid's 100 checks
	if testing.Short() {
		each = 5
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1000)) // most of the time would go there
	rapid.Check(t, func(t *rapid.T) {
		file := good
		for i := range each {
			if i%4 == 0 {
				file = good
			}
			file = mutate(t, file)
			valid(t, []byte(file))
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"*.example.yaml", "testdata/bad-*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) { valid(t, file) })
}

func BenchmarkParseTheFullExample(b *testing.B) {
	data, err := os.ReadFile("full.example.yaml")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Parse("full.example.yaml", data, env); err != nil {
			b.Fatal(err)
		}
	}
}
