package s3source

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source"
)

// TestSettings: what decides whether content stays is asked for with two requests; a right that is missing is named, and a server that
// knows no such question says nothing.
func TestSettings(t *testing.T) {
	rule := func(inner string) string { return "<LifecycleConfiguration>" + inner + "</LifecycleConfiguration>" }
	all := `<Rule><ID>all</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration><Days>3</Days></Expiration></Rule>`
	for name, c := range map[string]struct {
		prefix, life string
		refuse       string
		want         source.Settings
	}{
		"all goes":      {life: rule(all), want: source.Settings{Versioning: "Enabled", Expires: []string{`rule "all" deletes all below "" 3 days after it was written`}}},
		"on a day":      {life: rule(`<Rule><ID>d</ID><Status>Enabled</Status><Prefix>a/</Prefix><Expiration><Date>2026-12-24T00:00:00Z</Date></Expiration></Rule>`), prefix: "a/b/", want: source.Settings{Versioning: "Enabled", Expires: []string{`rule "d" deletes all below "a/" on 2026-12-24`}}},
		"elsewhere":     {life: rule(strings.ReplaceAll(all, "<Prefix></Prefix>", "<Prefix>tmp/</Prefix>")), want: source.Settings{Versioning: "Enabled"}},
		"off":           {life: rule(strings.ReplaceAll(all, "Enabled", "Disabled")), want: source.Settings{Versioning: "Enabled"}},
		"by tag":        {life: rule(strings.ReplaceAll(all, "<Prefix></Prefix>", "<Tag><Key>a</Key><Value>b</Value></Tag>")), want: source.Settings{Versioning: "Enabled"}},
		"markers only":  {life: rule(strings.ReplaceAll(all, "<Days>3</Days>", "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>")), want: source.Settings{Versioning: "Enabled"}},
		"none":          {refuse: "NoSuchLifecycleConfiguration", want: source.Settings{Versioning: "Enabled"}},
		"not known":     {refuse: "NotImplemented", want: source.Settings{Versioning: "Enabled"}},
		"may not be it": {refuse: "AccessDenied", want: source.Settings{Versioning: "Enabled", Denied: []string{"s3:GetLifecycleConfiguration"}}},
	} {
		t.Run(name, func(t *testing.T) {
			f, o := newFake(t)
			o.Prefix = c.prefix
			asked := 0
			f.hook = func(w http.ResponseWriter, r *http.Request, _ string) bool {
				q := r.URL.Query()
				switch {
				case q.Has("versioning"):
					fmt.Fprint(w, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>") //nolint:errcheck // test
				case q.Has("lifecycle") && c.refuse != "":
					refuse(w, map[string]int{"AccessDenied": 403, "NotImplemented": 501, "NoSuchLifecycleConfiguration": 404}[c.refuse], c.refuse, "no")
				case q.Has("lifecycle"):
					fmt.Fprint(w, c.life) //nolint:errcheck // test
				default:
					return false
				}
				asked++
				return true
			}
			got, err := mustFreeze(t, o).Settings(t.Context())
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
			if asked > 4 {
				t.Errorf("%d requests", asked)
			}
		})
	}
}
