package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"testing"

	"github.com/statesync/statesync/cmd/internal/cli"
	"github.com/statesync/statesync/daemon/control"
)

// What was accepted last of a bundle is listed; once it is dropped, a lower sequence is
// accepted.
func TestFloors(t *testing.T) {
	t.Parallel()
	b := newBundles(t)
	b.build("--origin", "example.com/prod", "--sequence", "5").expect(t, exitOK, "*")
	server := httptest.NewServer(http.FileServer(http.Dir(b.www)))
	t.Cleanup(server.Close)
	url := "bundle:" + server.URL + "/bundle.note"
	h := newHost(t, map[string]string{"b.yaml": "y: 1\n"}, "prod="+url+"?interval=1h&keys="+b.all)
	h.call("get", "a", "x").expect(t, exitOK, "1\n")

	row := regexp.MustCompile(`(?m)^SOURCE +LAYERS +SINCE +ACCEPTED\n` + regexp.QuoteMeta(url) + ` +prod +\d{4}-\S+ \S+ +example\.com/prod 5 [0-9a-f]{64} \S+Z\n$`)
	if o := h.call("floors"); o.code != exitOK || !row.MatchString(o.stdout) {
		t.Errorf("listed is\n%s%s", o.stdout, o.stderr)
	}
	if floors := decode[[]control.Floor](t, h.call("floors", "-o", "json")); len(floors) != 1 || floors[0].Source != url || floors[0].Act != 0 {
		t.Errorf("as json: %+v", floors)
	}
	h.call("__complete", "floors", "reset", "").has(t, exitOK, "prod\n", url+"\n")

	if err := os.Remove(b.note()); err != nil {
		t.Fatal(err)
	}
	b.put("2")
	b.build("--origin", "example.com/prod", "--sequence", "4").expect(t, exitOK, "*")
	h.call("reload").expect(t, exitNo, "", "stays live", "has the sequence 4, and 5 was accepted")
	h.call("floors", "reset", "prod", "-y").expect(t, cli.ExitUsage, "", "--why is missing")
	h.call("floors", "reset", "prod", "--why", "x").expect(t, cli.ExitUsage, "", "give --yes to do it, or --dry-run")
	h.call("floors", "reset", "dir", "--why", "x", "-y").expect(t, exitNo, "", `of "dir" nothing is kept`)
	h.call("floors", "reset", "prod", "--why", "x", "--dry-run").has(t, exitOK, "What was accepted last of prod would be dropped")
	h.call("floors", "reset", "prod", "--why", "the signer began anew", "-y").has(t, exitOK, "generation 2 is live: what was accepted of prod before was dropped")
	h.call("get", "a", "x").expect(t, exitOK, "2\n")
	h.call("floors").has(t, exitOK, "example.com/prod 4 ")
	h.call("audit").has(t, exitOK, "floors reset "+url[:20], ": the signer began anew", "dropped example.com/prod 5 ")
	h.stop()
	h.call("floors").expect(t, exitNo, "", "only a running daemon")
}
