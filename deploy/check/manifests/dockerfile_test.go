package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
)

// The two images of the daemon have the same programs and the user of the manifests. The
// one that is made by default has nothing else, and the other what git: sources run.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	stages := map[string][]string{} // instructions
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", "")) {
		line = strings.Join(strings.Fields(line), " ")
		if from, ok := strings.CutPrefix(line, "FROM "); ok {
			_, name, _ := strings.Cut(from, " AS ")
			names = append(names, name)
		}
		if len(names) > 0 && line != "" && line[0] != '#' {
			name := names[len(names)-1]
			stages[name] = append(stages[name], line)
		}
	}
	if !slices.Equal(names, []string{"app", "git", ""}) {
		t.Fatalf("the stages are %q", names)
	}
	git, last := stages["git"], stages[""]
	if last[0] != "FROM scratch" || !slices.Equal(git[2:], last[1:]) || !strings.HasPrefix(git[1], "RUN ") {
		t.Errorf("the images are\n%q\n%q", git, last)
	}
	d := only[*apps.DaemonSet](t, build(t, "kubernetes/base"))
	uid := *d.Spec.Template.Spec.SecurityContext.RunAsUser
	if user := fmt.Sprintf("USER %d:%d", uid, uid); !slices.Contains(last, user) {
		t.Errorf("the daemon's image has no %s: %q", user, last)
	}
	for _, part := range []string{" ca-certificates ", " git ", " openssh-client ", fmt.Sprintf("'statesync:x:%d:%d:", uid, uid)} {
		if !strings.Contains(git[1], part) {
			t.Errorf("the image git is made without %q: %s", part, git[1])
		}
	}
}
