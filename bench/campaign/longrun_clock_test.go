//go:build linux

package campaign

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wallClock lists every use of the time of day in the packages that read and write
// regions, and why a clock that jumps does no harm there.
// Differences of two time.Now of one process are of its monotonic clock, which
// does not jump.
var wallClock = map[string]string{
	"client/client.go Open time.Now":                                    "a difference in one process",
	"client/log.go Client.reportHeart time.Now":                         "a difference in one process",
	"client/log.go Client.reportHeart time.Since":                       "a difference in one process",
	"client/log.go Client.reportRegion time.Since":                      "a difference in one process",
	"client/refresh.go Client.setRetry time.Now":                        "a difference in one process",
	"client/refresh.go retry.pending time.Now":                          "a difference in one process",
	"client/stats.go Client.Stats time.Since":                           "Age is for people: since a stamp of another process",
	"daemon/act.go Daemon.accept time.Now":                              "shown to people",
	"daemon/act.go Daemon.acted time.Now":                               "a difference in one process",
	"daemon/recall.go Daemon.remind time.Now":                           "an override lapses by it, or by the time since boot if that is sooner",
	"daemon/act.go Daemon.override time.Now":                            "an override lapses by it, or by the time since boot if that is sooner",
	"daemon/act.go Daemon.pinTo time.Now":                               "shown to people",
	"daemon/act.go request.entry time.Now":                              "shown to people",
	"daemon/admin/health.go Server.health time.Since":                   "by the clock that does not jump",
	"daemon/admin/health.go lastValid time.Since":                       "by the clock that does not jump",
	"daemon/admin/health.go notFresh time.Since":                        "by the clock that does not jump",
	"daemon/admin/metrics.go metrics.Collect t.UnixMilli":               "timestamps are for people and their alerts",
	"daemon/admin/metrics.go metrics.Collect time.Since":                "by the clock that does not jump",
	"daemon/admin/server.go New time.Now":                               "a difference in one process",
	"daemon/daemon.go Daemon.follow time.Now":                           "a difference in one process",
	"daemon/diary.go diary.begin time.Since":                            "a difference in one process",
	"daemon/diary.go diary.pause time.Now":                              "a difference in one process",
	"daemon/diary.go diary.pause time.Until":                            "a difference in one process",
	"daemon/history/file.go openLocked time.Now":                        "a difference in one process",
	"daemon/history/intent.go now time.Now":                             "shown to people",
	"daemon/intent.go Daemon.forget time.Now":                           "shown to people",
	"daemon/internal/httpd/connections.go connections.changed time.Now": "a difference in one process",
	"daemon/internal/pace/pace.go - time.Now":                           "differences in one process",
	"daemon/internal/pace/pace.go Next time.Since":                      "a difference in one process",
	"daemon/layers.go layers.fresh time.Since":                          "a difference in one process",
	"daemon/notify/notify.go Notifier.Observe time.Now":                 "a difference in one process",
	"daemon/notify/notify.go Notifier.Observe time.Since":               "a difference in one process",
	"daemon/owner.go Daemon.began time.Now":                             "a difference in one process, for the log",
	"daemon/owner.go Daemon.judge time.Now":                             "a difference in one process, for the log",
	"daemon/owner.go Daemon.look time.Since":                            "a difference in one process",
	"daemon/owner.go Daemon.loop time.Now":                              "a difference in one process",
	"daemon/owner.go Daemon.overdue time.Since":                         "a difference in one process",
	"daemon/owner.go Daemon.put time.Since":                             "a difference in one process, for the metrics",
	"daemon/owner.go Daemon.settle time.Now":                            "a difference in one process",
	"daemon/owner.go Daemon.tend time.Now":                              "a difference in one process, for the log",
	"daemon/refusal.go trouble.set time.Now":                            "a difference in one process",
	"daemon/refusal.go trouble.set time.Since":                          "a difference in one process",
	"daemon/region.go region.publish time.Now":                          "a difference in one process",
	"daemon/region.go region.attach time.Now":                           "a difference in one process",
	"daemon/region.go region.create time.Now":                           "a difference in one process",
	"daemon/region.go region.published time.Since":                      "a difference in one process, for the log",
	"daemon/region.go region.verify time.Now":                           "a difference in one process",
	"daemon/region.go region.verify time.Since":                         "a difference in one process",
	"daemon/source/bundle/bundle.go Open time.Now":                      "validity is of the calendar; held against the last time seen, with bounded trust",
	"daemon/source/bundle/pack.go Pack time.Unix":                       "a time for the archive's members: always the same",
	"daemon/source/dir/dir.go directory.Fetch time.Now":                 "a difference in one process",
	"daemon/source/dir/dir.go directory.Fetch time.Since":               "a difference in one process",
	"daemon/source/dir/events.go watcher.created time.Now":              "a difference in one process",
	"daemon/source/dir/events.go watcher.run time.Now":                  "a difference in one process",
	"daemon/source/dir/file.go content.load time.Now":                   "see stamp.age",
	"daemon/source/dir/file.go stamp.age now.UnixNano":                  "a file that seems to be of the future is read again each time, and rests once two looks show the same; one that seems old is compared with all the rest of its stamp, and its content once a minute",
	"daemon/source/dir/file.go stampOf st.Ctim":                         "compared for being the same; see stamp.age. After a clock was set back, a file that is written in place behind a younger link is read without its quiet time, for as long as the link seems younger",
	"daemon/source/dir/file.go stampOf st.Mtim":                         "compared for being the same",
	"daemon/source/dir/scan.go directory.scan time.Now":                 "see stamp.age; else a difference in one process",
	"daemon/source/dir/scan.go scan.git time.Unix":                      "a lock that seems old, or of the future, is told of, and the tree is read; one that seems new is waited for until it does not",
	"daemon/source/dir/watch.go watcher.begin time.Now":                 "a difference in one process",
	"daemon/source/dir/watch.go watcher.end time.Now":                   "a difference in one process",
	"daemon/source/dir/watch.go watcher.start time.Now":                 "a difference in one process",
	"daemon/source/dir/watch.go watcher.tell time.Now":                  "a difference in one process",
	"daemon/source/dir/watch.go watcher.watch time.Now":                 "a difference in one process",
	"daemon/source/follow.go Follower.look time.Now":                    "differences in one process; also shown to people",
	"daemon/source/follow.go Follower.wait time.Now":                    "the phase of polls; a jump moves one of them",
	"daemon/source/follow.go Follower.wait time.Until":                  "a difference in one process",
	"daemon/source/follow.go Poll.after now.UnixNano":                   "the phase of polls; a jump moves one of them",
	"daemon/source/git/commit.go cutTime time.Unix":                     "shown to people",
	"daemon/source/git/git.go gitSource.again time.Now":                 "a key's validity is of the calendar",
	"daemon/source/git/repository.go repository.pull time.Now":          "a difference in one process",
	"daemon/source/git/repository.go removeAll time.Now":                "a difference in one process",
	"daemon/source/git/lsrefs.go gitSource.polled time.Since":           "a difference in one process",
	"daemon/source/git/verify.go gitSource.verify time.Now":             "a key's validity is of the calendar",
	"daemon/turn.go Daemon.turned time.Now":                             "a difference in one process; also shown to people",
	"daemon/webhook/webhook.go Server.admit time.Now":                   "a difference in one process",
	"daemon/webhook/webhook.go Server.refuse time.Now":                  "a difference in one process",
	"daemon/worker.go worker.start time.Now":                            "a difference in one process",
	"daemon/worker.go worker.watch time.Until":                          "a difference in one process",
	"shm/image/build.go Build time.Now":                                 "Published is for people",
	"shm/image/build.go Image.layOut UnixNano":                          "Published is for people",
	"shm/image/view.go View.Published time.Unix":                        "Published is for people",
	"shm/internal/layout/layout.go DecodeIdentity time.Unix":            "Created is for people",
	"shm/internal/layout/layout.go Identity.Encode UnixNano":            "Created is for people",
	"shm/internal/layout/status.go DecodeStatus time.Unix":              "Started is for people",
	"shm/internal/layout/status.go Status.Encode UnixNano":              "Started is for people",
	"shm/writer/replace.go Writer.fill time.Now":                        "Created is for people",
	"shm/writer/writer.go Own time.Now":                                 "Started is for people",
}

// TestLongRunWallClock finds the uses of the time of day in the packages' sources. It
// fails for a use that is not on the list, and for an entry of the list without a use.
func TestLongRunWallClock(t *testing.T) {
	found := map[string]string{}
	for _, dir := range []string{"client", "shm", "seqlock", "daemon"} {
		ok(t, filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			if d.IsDir() && d.Name() == "campaign" {
				return fs.SkipDir // tests, and what runs them
			}
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			return wallClockIn(path, found)
		}))
	}
	for _, use := range slices.Sorted(maps.Keys(found)) {
		if wallClock[use] == "" {
			t.Errorf("%s: %s: does it matter when the clock of the day jumps? If not, say why in this test", found[use], use)
		}
	}
	for use := range wallClock {
		if found[use] == "" {
			t.Errorf("%s: is not there any more; take it off the list", use)
		}
	}
	report(t, "no decision is made by the time of day", fmt.Sprintf("%d uses in client, shm, seqlock and daemon", len(found)), "none that is not on the list, with its reason")
}

// wallClockIn finds the uses in one file, and where they are.
func wallClockIn(path string, found map[string]string) error {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		return err
	}
	short := strings.TrimPrefix(filepath.ToSlash(path), "../../")
	for _, declaration := range file.Decls {
		in := "-"
		if f, is := declaration.(*ast.FuncDecl); is {
			in = f.Name.Name
			if f.Recv != nil {
				in = receiver(f.Recv.List[0].Type) + "." + in
			}
		}
		ast.Inspect(declaration, func(n ast.Node) bool {
			s, is := n.(*ast.SelectorExpr)
			if !is {
				return true
			}
			what := s.Sel.Name
			if x, is := s.X.(*ast.Ident); is {
				what = x.Name + "." + what
			}
			if timeOfDay(what) {
				found[short+" "+in+" "+what] = files.Position(s.Pos()).String()
			}
			return true
		})
	}
	return nil
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

func timeOfDay(what string) bool {
	_, method, _ := strings.Cut(what, ".")
	if method == "" {
		method = what
	}
	switch what {
	case "time.Now", "time.Since", "time.Until", "time.Unix", "time.Date",
		"unix.CLOCK_REALTIME", "unix.CLOCK_REALTIME_COARSE", "unix.Gettimeofday":
		return true
	}
	switch method {
	case "UnixNano", "UnixMilli", "UnixMicro", "Unix", "ModTime", "Mtim", "Ctim", "Atim":
		return true
	}
	return false
}
