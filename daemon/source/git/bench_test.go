//go:build unix

package git

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
)

// BenchmarkChange fetches changes of one file of 20 over https, by one request and by git
// fetch: cpu-ms/op is the processor time of all programs that are started, those of the
// server included.
func BenchmarkChange(b *testing.B) {
	for _, by := range []string{"request", "git"} {
		b.Run(by, func(b *testing.B) {
			u := newUpstream(b, "sha1")
			for i := range 20 {
				u.write(fmt.Sprintf("%d.json", i), "0")
			}
			u.push()
			s := open(b, "git:"+u.serve().repository(), source.Options{})
			fetch(b, s)
			if by == "git" {
				s.repo.ask = nil
			}
			var used time.Duration
			n := 0
			for b.Loop() {
				b.StopTimer()
				n++
				u.push("0.json", fmt.Sprint(n))
				before := children(b)
				b.StartTimer()
				fetch(b, s)
				used += children(b) - before
			}
			b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// children is the processor time of the programs that have ended.
func children(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
