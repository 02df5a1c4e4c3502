//go:build unix

package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/statesync/statesync/daemon/plan"
)

// decodingFile is what the diary writes in the state directory.
const decodingFile = "decoding"

// A daemon that died twice in a row over the same inputs tries them again after
// pauses that double.
const (
	maxDeaths  = 2
	firstPause = 10 * time.Second
	maxPause   = time.Hour
)

// diary notes which inputs are being decoded, so that a daemon that a parser killed
// (by a stack overflow, by all of the memory, or by an endless loop that the watchdog or
// a failing liveness probe ended) does not begin with them again and again. It is written
// while they are decoded and removed after that, without an fsync: a death of the process
// is what it is for, and a reboot clears it by the boot's id. The death of a neighbour, a
// kill or an upgrade in the middle of a plan counts too, which costs a good revision a
// pause, and no more. A disk that hangs holds nothing up.
type diary struct {
	state   *stateDir
	version string // of the daemon: another one may have the fault mended
	boot    string
	log     *slog.Logger

	// Of the previous process: the inputs that it died over, and how often in a row.
	inputs string
	deaths int

	// Of the owner.
	until time.Time // those inputs are not decoded before

	mu      sync.Mutex
	want    string        // what the file is to have; empty: there is to be none
	has     string        // what it has
	writing chan struct{} // closed when it has what it is to have; nil if it has
}

// noteAfter is how long decoding goes on before it is noted: most plans are made sooner, and
// cost no writes. Nothing that kills a daemon is as fast: a panic is caught, and to run out
// of stack or memory takes a hundred times as long.
const noteAfter = time.Millisecond

// diaryWait is how long the end of a daemon waits for a write to the state directory.
const diaryWait = 100 * time.Millisecond

// openDiary reads what the process before left.
func openDiary(s *stateDir, version string, log *slog.Logger) *diary {
	d := &diary{state: s, version: version, boot: bootID(), log: log}
	if s == nil {
		return d
	}
	f, err := s.root.Open(decodingFile)
	if err != nil {
		return d
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return d
	}
	d.want, d.has = string(text), string(text)
	var deaths int
	var boot, inputs, of string
	if n, _ := fmt.Sscanf(string(text), "%d %s %s %q\n", &deaths, &boot, &inputs, &of); n == 4 && boot == d.boot && of == version && deaths >= 0 {
		d.inputs, d.deaths = inputs, min(deaths, 100)+1
	}
	return d
}

// bootID names this boot of the machine; empty where that is not known.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return "boot:" + strings.TrimSpace(string(text))
}

// inputsDigest names what a plan is made of.
func inputsDigest(layers []plan.Layer) string {
	sum := sha256.New()
	for _, l := range layers {
		fmt.Fprintf(sum, "%q %q %t\n", l.Name, l.Prefix, l.NoSchemas)
		sum.Write(l.Newest.Digest[:])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// pause says why decoding these inputs has to wait; empty if it has not.
func (d *diary) pause(inputs string) string {
	if d.inputs != inputs || d.deaths < maxDeaths {
		return ""
	}
	if d.until.IsZero() {
		d.until = time.Now().Add(min(firstPause<<min(d.deaths-maxDeaths, 20), maxPause))
	}
	if time.Until(d.until) <= 0 {
		return ""
	}
	return fmt.Sprintf("the daemon died %d times in a row while it decoded this revision, which is tried again at %s", d.deaths, d.until.Format(time.TimeOnly))
}

// begin notes that these inputs are being decoded. The file has that if the plan, which
// was begun then, takes longer than noteAfter, and update is called. The function that
// begin returns notes that this has ended, one way or the other. Neither waits for the file.
func (d *diary) begin(inputs string, then time.Time) (ended func()) {
	if d.state == nil {
		return func() {}
	}
	deaths := 0
	if d.inputs == inputs {
		deaths = d.deaths
	}
	d.wants(fmt.Sprintf("%d %s %s %q\n", deaths, d.boot, inputs, d.version))
	if time.Since(then) > noteAfter {
		d.update()
	}
	return func() {
		d.wants("")
		d.update()
	}
}

// end notes that nothing is being decoded, and waits for the file.
func (d *diary) end() {
	if d.state == nil {
		return
	}
	d.wants("")
	d.settle()
}

func (d *diary) wants(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want = text
}

// update has the file written on a goroutine of its own if it does not have what it is to
// have. What it returns is closed then, and nil if there is nothing to wait for.
func (d *diary) update() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writing == nil && d.want != d.has {
		d.writing = make(chan struct{})
		go d.write()
	}
	return d.writing
}

// settle updates the file, and waits for that no longer than diaryWait.
func (d *diary) settle() {
	done := d.update()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-time.After(diaryWait):
	}
}

// write brings the file up to date. What fails is not tried again.
func (d *diary) write() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.has != d.want {
		text := d.want
		d.mu.Unlock()
		err := d.put(text)
		d.mu.Lock()
		if d.has = text; err != nil {
			d.fail(err)
		}
	}
	close(d.writing)
	d.writing = nil
}

func (d *diary) put(text string) error {
	if text != "" {
		return d.state.root.WriteFile(decodingFile, []byte(text), 0o600)
	}
	if err := d.state.root.Remove(decodingFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *diary) fail(err error) {
	d.state.errors.Inc()
	d.log.Warn("what is being decoded cannot be noted in the state directory: a daemon that dies of it begins with it again",
		"state_dir", d.state.path, "error", err)
}
