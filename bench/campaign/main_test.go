//go:build linux

package campaign

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/statesync/statesync/shm/shmtest"
)

// roles are the other processes of a campaign, which run the test's own binary. A
// role gets the arguments of spawn, reports on its standard output, and ends when
// its standard input ends.
var roles = map[string]func(ctx context.Context, args []string) error{}

const roleEnv = "CAMPAIGN_ROLE"

var campaignSeed = flag.Uint64("campaign.seed", 0, "what all that is tried by chance follows from; 0 is another one each time")

// chance is a sequence of random numbers that follows from the seed and a name. The
// same seed repeats the same steps in the same order, but not the instruction at
// which a process is stopped.
func chance(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	return rand.New(rand.NewPCG(*campaignSeed, h.Sum64()))
}

// chanceUpTo is a time below d.
func chanceUpTo(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(d)))
}

// chanceBytes are n bytes.
func chanceBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+7)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // else each client says what a campaign does to its region
	if name := os.Getenv(roleEnv); name != "" {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		if err := roles[name](ctx, os.Args[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if testing.Short() {
		tryLess()
	}
	if *campaignSeed == 0 {
		*campaignSeed = rand.Uint64()
	}
	if testing.Verbose() {
		fmt.Println("-campaign.seed", *campaignSeed)
	}
	if err := os.Setenv("STATESYNC_LISTEN", "off"); err != nil { // many daemons run at a time
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(binariesDir())
		if code != 0 && !testing.Verbose() {
			fmt.Println("-campaign.seed", *campaignSeed)
		}
		os.Exit(code)
	}))
}

// tryLess has the campaigns try what is enough with -short, where their flags have them try
// more: each promise has a try.
func tryLess() {
	crashSome, crashTraced, crashFirsts, actsSome, metaFew = 2, 2, 1, 1, 1
	memoryHosts, memoryPace = 3, 10*time.Millisecond
	for _, f := range []struct {
		tries *int
		least int
	}{{memoryHarmed, 3}, {memorySizes, 2}, {memoryFlips, 200}, {sourcesRounds, 1}, {trustAll, 3}, {togetherUpdates, 2_000}} {
		*f.tries = min(*f.tries, f.least)
	}
	*longrunFor = min(*longrunFor, 1500*time.Millisecond) // which has all samples
	*metaFor = min(*metaFor, 300*time.Millisecond)
}

// patience is how long an event is waited for: far longer than it takes.
const patience = 30 * time.Second

// await waits until a condition holds. Time in which this process was itself stopped
// does not count.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	awaitFor(t, patience, what, condition)
}

// awaitFor is await with another patience.
func awaitFor(t testing.TB, patience time.Duration, what string, condition func() bool) {
	t.Helper()
	for waited, last := time.Duration(0), time.Now(); !condition(); time.Sleep(2 * time.Millisecond) {
		waited += min(time.Since(last), time.Second)
		last = time.Now()
		if waited > patience {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// ok ends the test if there is an error.
func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// process is another process. Its lines are what it wrote, without the newline.
type process struct {
	*exec.Cmd
	Lines <-chan string
	stdin io.Closer
	ended chan struct{}
	err   error // of Wait, once ended is closed

	mu     sync.Mutex
	stderr bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.Write(b)
}

// log is what it wrote to its standard error.
func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// spawn starts the test's own binary in a role. It ends with the test at the
// latest.
func spawn(t testing.TB, role string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	return start(t, cmd)
}

// start starts a command; see spawn.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, ended: make(chan struct{})}
	cmd.Stderr = p
	stdin, err := cmd.StdinPipe()
	ok(t, err)
	p.stdin = stdin
	stdout, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	lines := make(chan string, 1024)
	p.Lines = lines
	go func() {
		defer close(p.ended)
		defer close(lines)
		scanner := bufio.NewScanner(stdout)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		p.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if wrote := p.log(); wrote != "" && t.Failed() {
			t.Logf("%s wrote:\n%s", strings.Join(cmd.Args, " "), wrote)
		}
	})
	return p
}

// kill is SIGKILL, and waits for the end.
func (p *process) kill() {
	_ = p.Process.Kill()                  // ended already in most cases
	_ = p.Process.Signal(syscall.SIGCONT) // a stopped one dies too
	for range p.Lines {
	}
	<-p.ended
}

// finish ends a role by closing its standard input, and returns what it wrote
// since. It fails the test where the role fails.
func (p *process) finish(t testing.TB) []string {
	t.Helper()
	_ = p.stdin.Close()
	var lines []string
	for line := range p.Lines {
		lines = append(lines, line)
	}
	<-p.ended
	if p.err != nil {
		t.Errorf("%s: %v: %s\n%s", p.Env[len(p.Env)-1], p.err, strings.Join(lines, "\n"), p.log())
	}
	return lines
}

// build compiles a command of the project, once for all tests of a run that ask
// for the same.
func build(t testing.TB, command string, flags ...string) string {
	t.Helper()
	binaries.Lock()
	defer binaries.Unlock()
	key := command + strings.Join(flags, " ")
	if path, done := binaries.paths[key]; done {
		return path
	}
	dir := binariesDir()
	ok(t, os.MkdirAll(dir, 0o700))
	path := filepath.Join(dir, fmt.Sprintf("%s-%d", filepath.Base(command), len(binaries.paths)))
	shmtest.Go(t, "build", append(append([]string{"-o", path}, flags...), command)...)
	binaries.paths[key] = path
	return path
}

var binaries = struct {
	sync.Mutex
	paths map[string]string
}{paths: map[string]string{}}

// memory is a directory on a tmpfs where there is one.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "statesync-campaign-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// report says in one line what a campaign tried and what was lost, for
// docs/RELIABILITY.md: `make campaign` collects these lines.
func report(t testing.TB, promise, tried, lost string) {
	t.Helper()
	t.Logf("promise: %s | tried: %s | lost: %s", promise, tried, lost)
}

func binariesDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("statesync-campaign-%d", os.Getpid()))
}
