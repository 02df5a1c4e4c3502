package plan

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/plan/schema"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

// heavy are files of 5,000 values and more, as dense as a format allows, and some
// as people write them.
func heavy() map[string]*source.File {
	const n = 5_000
	service := func(format string) string { return strings.ReplaceAll(plantest.Lines(n/16, format), `\n`, "\n") }
	words := "some words that explain what this is for"
	files := map[string]*source.File{}
	for name, text := range map[string]string{
		"list.json":    `{"m":[` + strings.Repeat("0,", 3*n) + "0]}",
		"lists.json":   `{"m":[` + strings.Repeat("[],", 2*n) + "0]}",
		"objects.json": `{"m":[` + strings.Repeat(`{"":0},`, n) + "0]}",
		"keys.json":    `{` + plantest.Repeated(n, `"%":0`) + "}",
		"usual.json": "{" + service(`"service-%": {\n "name": "pool%",\n "url": "https://service-%.example.com/path",\n "size": 1%,\n "ratio": 0.5,\n`+
			` "tags": ["a", "b"],\n "text": "`+words+`"},`) + `"end": 0}`,
		"list.yaml":  "m: [" + strings.Repeat("0,", 2*n) + "0]",
		"lists.yaml": "m: [" + strings.Repeat("[],", 2*n) + "0]",
		"pairs.yaml": "m: [" + strings.Repeat("a: 0,", n) + "0]",
		"line.yaml":  "[" + strings.Repeat("a: 0,", n) + "0,]", // the parser keeps a first line whole, which could be a key
		"items.yaml": "[" + strings.Repeat("a,", 2*n) + "]",
		"names.yaml": "{" + plantest.Repeated(n, "%") + "}",
		"keys.yaml":  plantest.Lines(n, "%: 0"),
		"empty.yaml": "m:\n" + strings.Repeat("-\n", 2*n),
		"deep.yaml":  "m:\n" + strings.Repeat("- - - - - - - - 0\n", n/5),
		"usual.yaml": service("service-%:\n  name: pool%\n  url: https://service-%.example.com/path\n  size: 1%\n  ratio: 0.5\n  tags: [a, b]\n  text: " + words),
		"prose.yaml": "text: |\n" + strings.Repeat("  "+words+"\n", n/10),
		"list.toml":  "m = [" + strings.Repeat("0,", 2*n) + "0]",
		"lists.toml": "m = [" + strings.Repeat("[],", 2*n) + "0]",
		"pairs.toml": "m = [" + strings.Repeat("{a=0},", n) + "0]",
		"keys.toml":  plantest.Lines(n, "%=0"),
		"dots.toml":  plantest.Lines(n/4, "a.b.c.d.e%.f.g=0"),
		"heads.toml": strings.Repeat("[[a]]\n", n),
		"usual.toml": service("[service-%]\nname = \"pool%\"\nurl = \"https://service-%.example.com/path\"\nsize = 1%\nratio = 0.5\ntags = [\"a\", \"b\"]\ntext = \"" + words + "\""),
		"bytes.bin":  strings.Repeat("a", 10*n),
	} {
		files[name] = &source.File{Path: name, Data: []byte(text)}
	}
	return files
}

// TestMemory says that no file takes more than Memory said, alone and with a
// schema that is violated everywhere. With -v it says how much:
//
//	go test ./daemon/plan -run 'TestMemory$' -v
func TestMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(5)) // what is counted is alive, and little else
	for name, f := range shmtest.Some(heavy(), 8) {
		for _, schema := range []string{
			"", `{"additionalProperties": {"items": {"type": "boolean"}, "additionalProperties": {"type": "boolean"}}}`,
		} {
			in := []*source.File{f}
			if base, _, _ := strings.Cut(name, "."); schema != "" {
				in = append(in, &source.File{Path: base + ".schema.json", Data: []byte(schema)})
			}
			options := Options{Opaque: []string{"*.bin"}}
			d := New(options)
			said := d.Memory(dir(in))
			took, r := alive(func() *Plan { return made(d, in) })
			// What is allocated during a collection counts as alive, and on a busy
			// machine one takes long: that is only ever too much.
			for n := 0; took > said && n < 20; n++ {
				least, _ := alive(func() *Plan { return made(New(options), in) })
				took = min(took, least)
			}
			t.Logf("%-12s %8d bytes, schema %-5v: took %9d, said %9d", name, len(f.Data), schema != "", took, said)
			if took > said {
				t.Errorf("%s: decoding took %d bytes, and Memory said %d", name, took, said)
			}
			if schema == "" && r.Err() != nil {
				t.Error(r.Err())
			}
			if again := d.Memory(dir(in)); again != 0 {
				t.Errorf("%s: %d bytes for files that are decoded", name, again)
			}
		}
	}
}

// alive is how much more memory was in use while f ran than before, as each
// collection found it.
func alive[T any](f func() T) (bytes int64, result T) {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	read := func() int64 {
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	before := read()
	done, most := make(chan struct{}), make(chan int64)
	go func() {
		highest := before
		for {
			highest = max(highest, read())
			select {
			case <-done:
				most <- highest
				return
			default:
				time.Sleep(50 * time.Microsecond) // a collection takes longer
			}
		}
	}()
	result = f()
	close(done)
	return <-most - before, result
}

// TestMemoryOfUsual holds Memory to what it is for: a limit that decoding keeps
// does not refuse what people write.
func TestMemoryOfUsual(t *testing.T) {
	for name, most := range map[string]int{"usual.json": 60, "usual.yaml": 80, "usual.toml": 60, "prose.yaml": 20, "bytes.bin": 6} {
		f := heavy()[name]
		if said := New(Options{Opaque: []string{"*.bin"}}).Memory(dir([]*source.File{f})); said > int64(most*len(f.Data)) {
			t.Errorf("%s: %d bytes for %d, more than %d times", name, said, len(f.Data), most)
		}
	}
}

// TestMemoryOfMany: one file is parsed at a time, and an unchanged config again
// when its schema is new.
func TestMemoryOfMany(t *testing.T) {
	text := strings.Repeat("k: v\n", 1000)
	one := New(Options{}).Memory(dir(plantest.Files("a.yaml", text)))
	if many := New(Options{}).Memory(dir(plantest.Files("a.yaml", text, "b.yaml", text))); many != one+perByte*int64(len(text)) {
		t.Errorf("%d bytes for one file, %d for two of them", one, many)
	}
	if large := New(Options{}).Memory(dir([]*source.File{{Path: "a.yaml", Data: make([]byte, 4<<20+1)}})); large != perByte*(4<<20+1) {
		t.Errorf("%d bytes for a file that is refused for its size", large)
	}
	d := New(Options{})
	in := plantest.Files("a.json", "[1,2,3]", "b.json", "[1,2,3,4]")
	made(d, in)
	in = append(in, plantest.Files("a.schema.json", "{}")...)
	if got, want := d.Memory(dir(in)), fmt.Sprint(perByte*2+420*(1+3)+1200); fmt.Sprint(got) != want {
		t.Errorf("%d bytes for a schema that is new, want %s", got, want)
	}
}

// TestMemoryOfViolations has a small schema of which each branch fails, in a config that
// is as deep as one may be: it is ended before what the library keeps of that is much.
func TestMemoryOfViolations(t *testing.T) {
	defer func(usual int64) { schema.MaxSteps = usual }(schema.MaxSteps)
	schema.MaxSteps = 500_000
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	const most = 16 << 20
	var levels strings.Builder
	for i := range 9 {
		fmt.Fprintf(&levels, `"l%d": {"anyOf": [%s]}, `, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"$ref": "#/$defs/l%d"},`, i+1), 8), ","))
	}
	deep := func(value string) string { return strings.Repeat("[", 90) + value + strings.Repeat("]", 90) }
	for name, s := range map[string]struct{ last, config string }{
		"type":     {`{"type": "string"}`, deep("1")},
		"minimum":  {`{"minimum": 2}`, deep("1")},
		"required": {`{"required": ["a", "b"]}`, deep("{}")},
		"items":    {`{"items": {"type": "string"}}`, deep("0, [" + strings.Repeat("1,", 1000) + "1]")},
		"contains": {`{"contains": {"type": "string"}}`, deep("0, [" + strings.Repeat("1,", 1000) + "1]")},
		"names":    {`{"propertyNames": {"maxLength": 1}}`, deep("{" + plantest.Repeated(1000, `"key%": 1`) + "}")},
	} {
		t.Run(name, func(t *testing.T) {
			text := `{"items": {"$ref": "#"}, "if": {"not": {"type": "array", "minItems": 1, "items": {"type": "array"}}}, "then": {"items": {"$ref": "#/$defs/l0"}}, ` +
				`"$defs": {` + levels.String() + `"l9": ` + s.last + `}}`
			in := plantest.Files("m.schema.json", text, "m.json", s.config)
			took, r := alive(func() *Plan { return made(New(Options{}), in) })
			t.Logf("%d bytes of schema: %d MiB, %.200q", len(text), took>>20, plantest.Messages(r.Problems))
			if got := plantest.Messages(r.Problems); took > most || len(got) != 1 || !strings.Contains(got[0], "more than 500000 steps") {
				t.Errorf("validating took %d MiB, problems %.200q", took>>20, got)
			}
		})
	}
}

// TestMemoryOfSchemas has a schema of as many subschemas as one may have.
func TestMemoryOfSchemas(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	for name, text := range shmtest.Some(map[string]string{
		"true": `{"prefixItems": [` + strings.Repeat("true,", 6_000) + `true]}`,
		"type": `{"$defs": {"a": {"prefixItems": [` + strings.Repeat(`{"type": "string"},`, 6_000) + `{}]}}, "$ref": "#/$defs/a"}`,
	}, 1) {
		m := New(Options{})
		in := plantest.Files("m.schema.json", text, "m.json", "{}")
		said := m.Memory(dir(in))
		took, r := alive(func() *Plan { return made(m, in) })
		t.Logf("%s: took %d, said %d", name, took, said)
		if took > said || r.Err() != nil {
			t.Errorf("%s: compiling took %d bytes, and Memory said %d: %v", name, took, said, r.Err())
		}
	}
}
