package seqlock

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// This file looks at the instructions that the compiler makes of the package,
// on the machines that the package comment argues about. It compiles with the
// go command that runs the test, and needs nothing else.

// passes has a reader's and a writer's steps the way that callers have them,
// with what the compiler inlines inlined.
const passes = `package seqlock

func ReadPass(r Ring, dst, src []uint64) bool {
	g := r.Hot().Generation()
	if !r.Whole(g) {
		return false
	}
	LoadWords(dst, src)
	return r.Whole(g)
}

func WritePass(r Ring, g uint64, dst, src []uint64) {
	r.Begin(g)
	StoreWords(dst, src)
	r.Complete(g)
	r.Commit(g)
}
`

// rule is what the instructions of one function must be: patterns for its
// accesses to memory, one behind the other. An access is written as the file
// that it comes from (it may be inlined from there), what it does, and the
// instruction: "ring store XCHGQ;". A call of a function of this package is
// "call StoreWords;". Accesses to the stack are left out.
type rule struct {
	function     string
	amd64, arm64 string
}

var rules = []rule{
	// One step each. Whole, Begin and Complete load the address of a sequence
	// from private memory first.
	{"Ring.Hot", `ring load MOVQ;`, `ring load LDAR;`},
	{"Ring.Whole", lookAMD64, lookARM64},
	{"Ring.Begin", markAMD64, markARM64},
	{"Ring.Complete", markAMD64, markARM64},
	{"Ring.Commit", `ring store XCHGQ;`, `ring store STLR;`},
	{"Ring.Retire", `ring load MOVQ;ring store XCHGQ;`, `ring load LDAR;ring store STLR;`},

	// All words, however the loops are laid out.
	{"LoadWords", wordsAMD64, loadARM64},
	{"StoreWords", wordsAMD64, storeARM64},

	// The order of the steps in a caller.
	{
		"ReadPass",
		`ring load MOVQ;` + lookAMD64 + `(call LoadWords;|` + wordsAMD64 + `)` + lookAMD64,
		`ring load LDAR;` + lookARM64 + `(call LoadWords;|` + loadARM64 + `)` + lookARM64,
	},
	{
		"WritePass",
		markAMD64 + `(call StoreWords;|` + wordsAMD64 + `)` + markAMD64 + `ring store XCHGQ;`,
		markARM64 + `(call StoreWords;|` + storeARM64 + `)` + markARM64 + `ring store STLR;`,
	},
}

const (
	lookAMD64 = `ring load MOVQ;ring load MOVQ;`
	lookARM64 = `ring load MOVD;ring load LDAR;`
	markAMD64 = `ring load MOVQ;ring store XCHGQ;`
	markARM64 = `ring load MOVD;ring store STLR;`

	// A private word is loaded or stored plainly, and on arm64 maybe together
	// with its neighbour.
	wordsAMD64 = `(words (load|store) MOVQ;)+`
	loadARM64  = `(words (load LDAR|store MOVD|store STP);)+`
	storeARM64 = `(words (load MOVD|load LDP|store STLR);)+`
)

func TestInstructions(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			bodies := compile(t, arch, map[string]string{"passes.go": passes})
			for _, r := range rules {
				if err := r.check(arch, bodies[r.function]); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestInstructionsCanFail replaces a file by one that is wrong, and wants the
// rules to find it.
func TestInstructionsCanFail(t *testing.T) {
	const (
		secondLook   = "LoadWords(dst, src)\n\treturn r.Whole(g)"
		earlyLook    = "whole := r.Whole(g)\n\tLoadWords(dst, src)\n\treturn whole"
		oddSequence  = "r.Begin(g)\n\tStoreWords(dst, src)"
		lateSequence = "StoreWords(dst, src)\n\tr.Begin(g)"
	)
	for _, c := range []struct{ name, arch, file, function, code string }{
		{
			"plain stores on arm64", "arm64", "words_generic.go", "StoreWords",
			`package seqlock

func StoreWords(dst, src []uint64) {
	for i, word := range src {
		dst[i] = word
	}
}`,
		},
		{
			"an exchange a word on amd64", "amd64", "words_amd64.go", "StoreWords",
			`package seqlock

import "sync/atomic"

func StoreWords(dst, src []uint64) {
	for i, word := range src {
		atomic.StoreUint64(&dst[i], word)
	}
}`,
		},
		{
			"memmove on amd64", "amd64", "words_amd64.go", "StoreWords",
			`package seqlock

func StoreWords(dst, src []uint64) { copy(dst, src) }`,
		},
		{
			"plain loads on arm64", "arm64", "words.go", "LoadWords",
			`package seqlock

func LoadWords(dst, src []uint64) {
	for i := range dst {
		dst[i] = src[i]
	}
}`,
		},
		{
			"memmove on arm64", "arm64", "words.go", "LoadWords",
			`package seqlock

func LoadWords(dst, src []uint64) { copy(dst, src) }`,
		},
		{
			"the second look before the copy on amd64", "amd64", "passes.go", "ReadPass",
			strings.Replace(passes, secondLook, earlyLook, 1),
		},
		{
			"the second look before the copy on arm64", "arm64", "passes.go", "ReadPass",
			strings.Replace(passes, secondLook, earlyLook, 1),
		},
		{
			"the odd sequence behind the words on amd64", "amd64", "passes.go", "WritePass",
			strings.Replace(passes, oddSequence, lateSequence, 1),
		},
		{
			"the odd sequence behind the words on arm64", "arm64", "passes.go", "WritePass",
			strings.Replace(passes, oddSequence, lateSequence, 1),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bodies := compile(t, c.arch, map[string]string{c.file: c.code})
			body := bodies[c.function]
			if len(body) == 0 {
				t.Fatalf("the compiler's listing does not have %s", c.function)
			}
			i := slices.IndexFunc(rules, func(r rule) bool { return r.function == c.function })
			if err := rules[i].check(c.arch, body); err == nil {
				t.Error("not found")
			}
		})
	}
}

// check compares a function's body with the rule.
func (r rule) check(arch string, body []instruction) error {
	pattern := r.amd64
	if arch == "arm64" {
		pattern = r.arm64
	}
	found, err := accesses(arch, body)
	if err == nil && !regexp.MustCompile("^("+pattern+")$").MatchString(found) {
		err = fmt.Errorf("its accesses are\n\t%s\nand not\n\t%s", found, pattern)
	}
	if err == nil {
		return nil
	}
	var listing strings.Builder
	for _, i := range body {
		fmt.Fprintf(&listing, "\n\t%s\t%s\t%s", i.file, i.op, i.args)
	}
	return fmt.Errorf("%s on %s: %w; the instructions are%s", r.function, arch, err, &listing)
}

// instruction is one line of the compiler's listing.
type instruction struct{ file, op, args string }

var (
	// calls that no path of a correct caller takes, or that only grow the stack
	harmlessCall = regexp.MustCompile(`^runtime\.(panic\w+|goPanic\w+|morestack\w*)\(SB\)$`)
	ownCall      = regexp.MustCompile(`/seqlock\.(\w+)\(SB\)$`)
	// an operand in memory: the base register and maybe an offset and an index
	inMemory = regexp.MustCompile(`^-?\d*\((\w+)\)(\(\w+(\*\d|<<\d)?\))?$`)
	// the goroutine's own memory: its stack and its descriptor
	ownBases = map[string][]string{"amd64": {"SP", "FP", "R14"}, "arm64": {"RSP", "FP", "g"}}
)

// accesses lists a body's accesses to memory in the order of the listing.
func accesses(arch string, body []instruction) (string, error) {
	if len(body) == 0 {
		return "", errors.New("the compiler's listing does not have it")
	}
	var list strings.Builder
	for _, i := range body {
		switch {
		case i.op == "CALL":
			if own := ownCall.FindStringSubmatch(i.args); own != nil {
				list.WriteString("call " + own[1] + ";")
			} else if !harmlessCall.MatchString(i.args) {
				return "", fmt.Errorf("it calls %s", i.args)
			}
			continue
		case slices.Contains([]string{"LOCK", "REP", "MOVSQ", "DUFFCOPY", "DUFFZERO"}, i.op):
			return "", fmt.Errorf("it uses %s", i.op)
		case strings.HasPrefix(i.op, "LEA") || i.op == "RET" || i.op == "JMP":
			continue // the operand is an address, and not accessed
		}
		operands := strings.Split(i.args, ", ")
		for n, operand := range operands {
			base := inMemory.FindStringSubmatch(operand)
			if base == nil || slices.Contains(ownBases[arch], base[1]) {
				continue
			}
			// The last operand is the destination, of what has one.
			if n == len(operands)-1 && !strings.HasPrefix(i.op, "CMP") && !strings.HasPrefix(i.op, "TEST") {
				list.WriteString(i.file + " store " + i.op + ";")
			} else {
				list.WriteString(i.file + " load " + i.op + ";")
			}
		}
	}
	return list.String(), nil
}

var (
	functionLine    = regexp.MustCompile(`^\S*/seqlock\.(\S+) STEXT `)
	instructionLine = regexp.MustCompile(`^\t0x[0-9a-f]+ \d+ \((?:.*/(\w+?)(?:_\w+)?\.go:\d+|<.*>.*)\)\t(\S+)(?:\t(.*))?$`)
)

// compile compiles this package with other or more files and returns the
// functions' instructions. Nothing is written outside the test's folder and
// the build cache.
func compile(t *testing.T, arch string, files map[string]string) map[string][]instruction {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command to compile with")
	}
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	replace := map[string]string{}
	for name, code := range files {
		replace[filepath.Join(folder, name)] = filepath.Join(temp, name)
		if err := os.WriteFile(filepath.Join(temp, name), []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	// The least machine of each kind. GOFLAGS of the environment, -race for
	// one, are not what is looked at. Trimmed paths are those of `make build`: what
	// this package imports is compiled already.
	command := exec.Command("go", "build", "-trimpath", "-gcflags=-S", "-overlay", overlayFile, ".")
	command.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0",
		"GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0")
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, output)
	}
	bodies := map[string][]instruction{}
	var function string
	for line := range strings.Lines(string(output)) {
		line = strings.TrimSuffix(line, "\n")
		if found := functionLine.FindStringSubmatch(line); found != nil {
			function = found[1]
		} else if found := instructionLine.FindStringSubmatch(line); found != nil {
			switch found[2] {
			case "TEXT", "FUNCDATA", "PCDATA":
			default:
				bodies[function] = append(bodies[function], instruction{found[1], found[2], found[3]})
			}
		}
	}
	return bodies
}
