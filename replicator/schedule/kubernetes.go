package schedule

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	podUser     = 65532
	podSecrets  = "/run/credentials/holdfast"
	podCache    = "/var/cache/holdfast"
	secretName  = "holdfast"
	environName = "holdfast-env"
	cacheSize   = "10Gi"
)

// metadataAddresses are where a pod's own credentials come from: the instance's metadata and the agent for pod identities.
var metadataAddresses = []string{"169.254.169.254/32", "169.254.170.23/32"}

// labelForm is what a namespace may be called: a label of DNS.
var labelForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`) })

var imageForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,300}$`) })

// Kubernetes gives manifests: the configuration, a place for the cache, what may be connected to, and a CronJob for each job.
// The Secret is not among them: a manifest with secrets in it would be a file with secrets in it. The notes say how to make it.
func Kubernetes(setup Setup) (Plan, error) {
	s := cluster{setup}
	if err := s.check(); err != nil {
		return Plan{}, err
	}
	if !imageForm().MatchString(s.Image) {
		return Plan{}, fmt.Errorf("%w: %q is no name of an image", ErrCannot, clip(s.Image))
	}
	if s.Namespace != "" && !labelForm().MatchString(s.Namespace) {
		return Plan{}, fmt.Errorf("%w: %q is no name of a namespace: lower-case letters, digits and -, at most 63, a letter or digit at both ends", ErrCannot, clip(s.Namespace))
	}
	if s.Cache != "" {
		return Plan{}, fmt.Errorf("%w: leave `cache` out of the configuration: a pod keeps it in a volume", ErrCannot)
	}
	if len(s.Lists) > 0 {
		return Plan{}, fmt.Errorf("%w: `exclude_from` names %s, which a pod does not have: write its patterns under `exclude`", ErrCannot, s.Lists[0])
	}
	for _, x := range s.all() {
		switch x.Kind {
		case InFile:
			return Plan{}, fmt.Errorf("%w: %s lies in a file, which a pod does not have: write systemd:%s in the configuration, and it is taken from the Secret", ErrCannot, x.Name, path.Base(x.Name))
		case Profile:
			return Plan{}, fmt.Errorf("%w: a pod has no profile %s: write systemd:NAME for what is taken from the Secret, or for a source default", ErrCannot, x.Name)
		}
	}
	p := Plan{Notes: s.kubernetesNotes()}
	names := map[string]bool{}
	twice := ""
	add := func(name string, o object) {
		// Files are told apart by what the objects are called, so that no object replaces another.
		of := fmt.Sprint(o[1].value, " ", o[2].value.(object)[0].value)
		if names[of] {
			twice = of
		}
		names[of] = true
		p.Files = append(p.Files, File{name + ".yaml", document(o)})
	}
	add("holdfast-serviceaccount", append(s.meta("v1", "ServiceAccount", "holdfast", ""), pair{"automountServiceAccountToken", false}))
	add("holdfast-configmap", append(s.meta("v1", "ConfigMap", "holdfast", ""), pair{"data", object{{"holdfast.yaml", s.Text}}}))
	add("holdfast-persistentvolumeclaim", append(s.meta("v1", "PersistentVolumeClaim", "holdfast-cache", ""), pair{"spec", object{
		{"accessModes", list{"ReadWriteOnce"}},
		{"resources", object{{"requests", object{{"storage", cacheSize}}}}},
	}}))
	add("holdfast-networkpolicy", s.policy("holdfast", "", true, slices.Concat(s.Vaults, s.Receivers)))
	for _, j := range s.jobs() {
		if len(j.sources) > 0 {
			add("holdfast-"+j.command+"-networkpolicy", s.policy("holdfast-"+j.command, j.command, false, j.sources))
		}
		for i, w := range j.whens {
			name := j.name
			if i > 0 {
				name = fmt.Sprintf("%s-%d", name, i+1)
			}
			add(name+"-cronjob", s.cronJob(j, name, w))
		}
	}
	if twice != "" {
		return Plan{}, fmt.Errorf("%w: two vaults, after _ is made - and names are cut to 52 characters, both want %s: rename one", ErrCannot, twice)
	}
	return p, nil
}

// cluster writes manifests.
type cluster struct{ Setup }

func (s cluster) kubernetesNotes() []string {
	names := ""
	for _, file := range s.Credentials() {
		names += fmt.Sprintf(" --from-file=%s", quoted(file))
	}
	in := ""
	if s.Namespace != "" {
		in = " -n " + s.Namespace
	}
	notes := []string{
		fmt.Sprintf("make the Secret first, from the files with the keys: kubectl%s create secret generic %s%s", in, secretName, names),
		fmt.Sprintf("the image %s has to have the program at %s and the certificates of public authorities; --image names another", s.Image, s.Program),
		"times are UTC",
	}
	if has(s.all(), Environment) {
		notes = append(notes, fmt.Sprintf("make the Secret with the variables: kubectl%s create secret generic %s --from-env-file=%s", in, environName, quoted(s.environment())))
	}
	if s.Textfile != "" {
		notes = append(notes, "metrics.textfile is for a node_exporter on the machine itself; no pod can write there, and each job warns of it: leave it out")
	}
	for _, kind := range []struct {
		word   string
		places []Place
	}{{"vault", s.Vaults}, {"source", s.Sources}} {
		for _, p := range kind.places {
			if p.Folder != "" {
				notes = append(notes, fmt.Sprintf("%s %s is a directory: make a PersistentVolumeClaim %s that user %d can use; it is mounted at %s",
					kind.word, p.Name, claim(kind.word, p), podUser, p.Folder))
			}
		}
	}
	return notes
}

// claim is the name of the volume claim of a place that is a directory.
func claim(word string, p Place) string { return label("holdfast-" + word + "-" + p.Name) }

// label makes of a name one that Kubernetes takes.
func label(name string) string {
	const most = 52 // of a CronJob's name
	name = strings.ReplaceAll(name, "_", "-")
	return strings.TrimRight(name[:min(len(name), most)], "-")
}

// meta begins an object. component may be empty.
func (s cluster) meta(version, kind, name, component string) object {
	meta := object{{"name", label(name)}}
	if s.Namespace != "" {
		meta = append(meta, pair{"namespace", s.Namespace})
	}
	return object{{"apiVersion", version}, {"kind", kind}, {"metadata", append(meta, pair{"labels", labels(component)})}}
}

func labels(component string) object {
	out := object{{"app.kubernetes.io/name", "holdfast"}}
	if component != "" {
		out = append(out, pair{"app.kubernetes.io/component", component})
	}
	return out
}

// policy lets pods connect to the ports of some places and, the first one, to DNS. Policies add up.
func (s cluster) policy(name, component string, dns bool, places []Place) object {
	egress := list{}
	if dns {
		egress = append(egress, object{{"ports", list{port("UDP", 53), port("TCP", 53)}}})
	}
	named := list{}
	for _, p := range places {
		for _, peer := range p.Peers {
			tcp := port("TCP", peer.Port)
			if a, err := netip.ParseAddr(peer.Host); err == nil {
				egress = append(egress, object{{"to", list{object{{"ipBlock", object{{"cidr", netip.PrefixFrom(a, a.BitLen()).String()}}}}}}, {"ports", list{tcp}}})
			} else if !slices.ContainsFunc(named, func(x any) bool { return fmt.Sprint(x) == fmt.Sprint(tcp) }) {
				named = append(named, tcp)
			}
		}
		if p.Secret.Kind == Ambient {
			to := list{}
			for _, a := range metadataAddresses {
				to = append(to, object{{"ipBlock", object{{"cidr", a}}}})
			}
			egress = append(egress, object{{"to", to}, {"ports", list{port("TCP", 80)}}})
		}
	}
	if len(named) > 0 {
		egress = append(egress, object{{"ports", named}})
	}
	return append(s.meta("networking.k8s.io/v1", "NetworkPolicy", name, component), pair{"spec", object{
		{"podSelector", object{{"matchLabels", labels(component)}}},
		{"policyTypes", list{"Ingress", "Egress"}},
		{"ingress", list{}},
		{"egress", egress},
	}})
}

func port(protocol string, number int) object {
	return object{{"protocol", protocol}, {"port", number}}
}

func (s cluster) cronJob(j job, name string, w When) object {
	late, again := 6*time.Hour, 0
	if j.watched {
		if s.Times.Window != (Window{}) {
			late = s.Times.Window.left(w.At)
		} else if s.tryAgain() {
			again = 2
		}
	}
	return append(s.meta("batch/v1", "CronJob", name, j.command), pair{"spec", object{
		{"schedule", w.cron()},
		{"timeZone", "Etc/UTC"},
		{"concurrencyPolicy", "Forbid"},
		{"startingDeadlineSeconds", int(late.Seconds())},
		{"successfulJobsHistoryLimit", 3},
		{"failedJobsHistoryLimit", 3},
		{"jobTemplate", object{{"spec", object{
			{"backoffLimit", again},
			{"podFailurePolicy", object{{"rules", list{object{
				{"action", "FailJob"}, // usage or key, incomplete, alarm, damage: the same again would not help
				{"onExitCodes", object{{"containerName", "holdfast"}, {"operator", "In"}, {"values", list{2, 3, 4, 5}}}},
			}}}}},
			{"template", object{
				{"metadata", object{{"labels", labels(j.command)}}},
				{"spec", s.pod(j)},
			}},
		}}}},
	}})
}

func (s cluster) pod(j job) object {
	return object{
		{"restartPolicy", "Never"},
		{"serviceAccountName", "holdfast"},
		{"automountServiceAccountToken", false},
		{"enableServiceLinks", false},
		{"securityContext", object{
			{"runAsNonRoot", true}, {"runAsUser", podUser}, {"runAsGroup", podUser}, {"fsGroup", podUser}, {"fsGroupChangePolicy", "OnRootMismatch"},
			{"seccompProfile", object{{"type", "RuntimeDefault"}}},
		}},
		{"containers", list{s.container(j)}},
		{"volumes", s.volumes(j)},
	}
}

func (s cluster) container(j job) object {
	args := list{}
	for _, a := range append(slices.Clone(j.args), "--config", s.Config) {
		args = append(args, strings.ReplaceAll(a, "$(", "$$("))
	}
	c := object{
		{"name", "holdfast"},
		{"image", s.Image},
		{"command", list{s.Program}},
		{"args", args},
		{"env", list{
			object{{"name", "CREDENTIALS_DIRECTORY"}, {"value", podSecrets}},
			// One below the volume: its own folder belongs to a group, and the cache is refused where others could write.
			object{{"name", "XDG_CACHE_HOME"}, {"value", podCache + "/own"}},
			object{{"name", "HOME"}, {"value", "/tmp"}},
		}},
	}
	if has(s.secrets(j), Environment) {
		c = append(c, pair{"envFrom", list{object{{"secretRef", object{{"name", environName}}}}}})
	}
	mounts := list{
		object{{"name", "configuration"}, {"mountPath", s.Config}, {"subPath", "holdfast.yaml"}, {"readOnly", true}},
		object{{"name", "secrets"}, {"mountPath", podSecrets}, {"readOnly", true}},
		object{{"name", "cache"}, {"mountPath", podCache}},
		object{{"name", "tmp"}, {"mountPath", "/tmp"}},
	}
	s.eachFolder(j, func(name, _ string, p Place, readOnly bool) {
		mounts = append(mounts, object{{"name", name}, {"mountPath", p.Folder}, {"readOnly", readOnly}})
	})
	return append(c,
		pair{"resources", object{{"requests", object{{"cpu", "100m"}, {"memory", fmt.Sprint(2 * s.Memory)}}}}},
		pair{"securityContext", object{
			{"allowPrivilegeEscalation", false}, {"readOnlyRootFilesystem", true}, {"capabilities", object{{"drop", list{"ALL"}}}},
		}},
		pair{"volumeMounts", mounts},
	)
}

// volumes of a pod. Jobs that keep nothing on the machine do without the one cache, which is on one node at a time.
func (s cluster) volumes(j job) list {
	cache := object{{"name", "cache"}, {"emptyDir", object{}}}
	if j.writes {
		cache = object{{"name", "cache"}, {"persistentVolumeClaim", object{{"claimName", "holdfast-cache"}}}}
	}
	items := list{}
	for _, x := range s.secrets(j) {
		if x.Kind == Credential {
			items = append(items, object{{"key", x.Name}, {"path", x.Name}})
		}
	}
	out := list{
		object{{"name", "configuration"}, {"configMap", object{{"name", "holdfast"}}}},
		object{{"name", "secrets"}, {"secret", object{{"secretName", secretName}, {"defaultMode", 0o440}, {"items", items}}}},
		cache,
		object{{"name", "tmp"}, {"emptyDir", object{}}},
	}
	s.eachFolder(j, func(name, claim string, _ Place, readOnly bool) {
		out = append(out, object{{"name", name}, {"persistentVolumeClaim", object{{"claimName", claim}, {"readOnly", readOnly}}}})
	})
	return out
}

// eachFolder gives the directories of a job, with the names of their volumes.
func (s cluster) eachFolder(j job, do func(name, claim string, p Place, readOnly bool)) {
	for _, p := range j.vaults {
		if p.Folder != "" {
			do(label("vault-"+p.Name), claim("vault", p), p, !j.writes)
		}
	}
	for _, p := range j.sources {
		if p.Folder != "" {
			do(label("source-"+p.Name), claim("source", p), p, true)
		}
	}
}
