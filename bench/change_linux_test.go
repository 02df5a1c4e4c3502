package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm/image"
)

// ranking is what the readers of a change decode.
type ranking struct {
	Queue, Region string
	Version       int
	Weights       struct{ Elo, Party, Ping float64 }
}

// rankingConfig is a config of about 120 bytes.
func rankingConfig(b *testing.B, version int) *image.Section {
	b.Helper()
	s, err := image.NewDocument("ranking", fmt.Appendf(nil,
		`{"queue":"ranked-europe-west-1","region":"eu-west-1","version":%d,"weights":{"elo":1500,"party":0.25,"ping":0.35}}`, version))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// bindRanking opens a client with one binding: plain, or with validation, which
// takes a goroutine.
func bindRanking(dir, kind string) (*client.Binding[ranking], error) {
	c, err := client.Open(dir)
	if err != nil {
		return nil, err
	}
	var options client.Options[ranking]
	if kind == "validated" {
		options.Validate = func(r *ranking) error {
			if r.Version == 0 {
				return errors.New("no version")
			}
			return nil
		}
	}
	return client.Bind(c, "ranking", options), nil
}

// BenchmarkChange is what one published change costs each sleeping reader
// process in CPU and in voluntary context switches. A naked reader sleeps in
// the same futex wait, and then copies and decodes the same JSON. An operation
// is 20 changes for each kind of reader in turn. How long the publication itself
// takes stands beside it.
func BenchmarkChange(b *testing.B) {
	for _, readers := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("%d-readers", readers), func(b *testing.B) { changeCost(b, readers) })
	}
}

func changeCost(b *testing.B, readers int) {
	const changes = 20
	type kind struct {
		name    string
		change  func(version int)
		readers []*sleepingReader
		cpu     []float64 // ns for each change and reader
		sleeps  []float64 // voluntary context switches likewise
	}
	var kinds []*kind
	var publications []time.Duration
	for _, name := range []string{"naked", "plain", "validated"} {
		k := &kind{name: name}
		var where string
		if name == "naked" {
			word, path := futexWord(b)
			where = path
			k.change = func(version int) {
				putNaked(word, rankingConfig(b, version).Content())
				atomic.AddUint32(word, 1)
				futexCall(word, 1, 1<<31-1, nil)
			}
		} else {
			p := newPublisher(b, 1<<20, rankingConfig(b, 1))
			where = p.dir
			k.change = func(version int) {
				s := rankingConfig(b, version)
				begin := monotonic()
				p.publish(0, s)
				publications = append(publications, monotonic()-begin)
				p.beat()
			}
		}
		for range readers {
			k.readers = append(k.readers, startSleeping(b, name+":"+where))
		}
		kinds = append(kinds, k)
	}
	// The readers decode, fall asleep, and their Go runtimes come to rest.
	rest := func() { time.Sleep(15*time.Millisecond + time.Duration(readers)*1500*time.Microsecond) }
	version := 1
	for b.Loop() {
		for _, k := range kinds {
			before := make([]usage, readers)
			for i, r := range k.readers {
				before[i] = r.usage()
			}
			for range changes {
				rest()
				version++
				k.change(version)
			}
			rest()
			var cpu, sleeps float64
			for i, r := range k.readers {
				after := r.usage()
				if after.Version != int64(version) {
					b.Fatalf("a %s reader has version %d, and %d was published", k.name, after.Version, version)
				}
				cpu += float64(after.CPU - before[i].CPU)
				sleeps += float64(after.Sleeps - before[i].Sleeps)
			}
			k.cpu = append(k.cpu, cpu/float64(changes*readers))
			k.sleeps = append(k.sleeps, sleeps/float64(changes*readers))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(percentile(publications, 0.5), "publish-p50-ns")
	for _, k := range kinds {
		b.ReportMetric(middle(k.cpu), k.name+"-cpu-ns")
		b.ReportMetric(middle(k.sleeps), k.name+"-switches")
	}
}

// middle is the median.
func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// usage is what a reader process has used, and the version that it has.
type usage struct{ CPU, Sleeps, Version int64 }

// sleepingReader is a process that reads, and says on demand what it used.
type sleepingReader struct {
	b   *testing.B
	in  io.Writer
	out io.Reader
}

func startSleeping(b *testing.B, role string) *sleepingReader {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	r := &sleepingReader{b: b, in: in, out: out}
	r.usage() // it has started
	return r
}

func (r *sleepingReader) usage() (u usage) {
	_, err := r.in.Write([]byte{'?'})
	if err == nil {
		err = binary.Read(r.out, binary.LittleEndian, &u)
	}
	if err != nil {
		r.b.Fatal(err)
	}
	return u
}

// answerUsage is the other end of sleepingReader.
func answerUsage(version func() int) error {
	for question := make([]byte, 1); ; {
		if _, err := io.ReadFull(os.Stdin, question); err != nil {
			return err
		}
		var r unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
			return err
		}
		u := usage{r.Utime.Nano() + r.Stime.Nano(), r.Nvcsw, int64(version())}
		if err := binary.Write(os.Stdout, binary.LittleEndian, u); err != nil {
			return err
		}
	}
}

// sleepWithClient is a reader whose client follows.
func sleepWithClient(dir, kind string) error {
	binding, err := bindRanking(dir, kind)
	if err != nil {
		return err
	}
	return answerUsage(func() int { return binding.Get().Version })
}

// sleepNaked is a reader that does as little as can be done.
func sleepNaked(path string) error {
	word, err := mapWord(path, unix.PROT_READ)
	if err != nil {
		return err
	}
	var newest atomic.Pointer[ranking]
	newest.Store(new(ranking))
	go func() {
		for {
			old := atomic.LoadUint32(word)
			if text := getNaked(word); len(text) > 0 {
				value := new(ranking)
				if json.Unmarshal(text, value) == nil {
					newest.Store(value)
				}
			}
			for atomic.LoadUint32(word) == old {
				waitNaked(word, old)
			}
		}
	}()
	return answerUsage(func() int { return newest.Load().Version })
}

// nakedText is where a naked reader's JSON is: behind the futex word, and its
// length before it.
func nakedText(word *uint32) (length *uint32, text []byte) {
	const at = 8
	page := unsafe.Slice((*byte)(unsafe.Pointer(word)), os.Getpagesize())
	return (*uint32)(unsafe.Pointer(&page[4])), page[at:]
}

func putNaked(word *uint32, content []byte) {
	length, text := nakedText(word)
	*length = uint32(copy(text, content))
}

func getNaked(word *uint32) []byte {
	length, text := nakedText(word)
	return bytes.Clone(text[:*length])
}

// waitNaked is the wait of a client's follower, with nothing around it.
func waitNaked(word *uint32, value uint32) {
	const futexWaitBitset, every = 9, 1<<32 - 1
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	until := unix.NsecToTimespec(now.Nano() + (2 * time.Second).Nanoseconds())
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWaitBitset, uintptr(value),
		uintptr(unsafe.Pointer(&until)), 0, every)
}

// BenchmarkBusy is from a publication to the new value in Binding.Get of another
// process, all of whose processors compute all the time.
func BenchmarkBusy(b *testing.B) {
	for _, kind := range []string{"plain", "validated"} {
		b.Run(kind, func(b *testing.B) {
			p := newPublisher(b, 1<<20, rankingConfig(b, 1))
			reader := startWaiter(b, "busy-"+kind+":"+p.dir)
			var took []time.Duration
			for version := 2; b.Loop(); version++ {
				s := rankingConfig(b, version)
				time.Sleep(30*time.Millisecond + time.Duration(version*7%41)*time.Millisecond) // in step with nothing
				start := monotonic()
				p.publish(0, s)
				took = append(took, reader.next()-start)
				p.beat()
			}
			report(b, took)
		})
	}
}

// computeAndFollow says when each new value has arrived.
func computeAndFollow(dir, kind string) error {
	binding, err := bindRanking(dir, kind)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	var last atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for {
				before := last.Load()
				if version := int64(binding.Get().Version); version > before && last.CompareAndSwap(before, version) {
					if err := saw(monotonic()); err != nil {
						failed <- err
					}
				}
			}
		}()
	}
	return <-failed
}
