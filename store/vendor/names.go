package vendor

import "slices"

// written are the names of what a job stores (docs/format.md, 2), as patterns of a policy: * stands for any characters, slashes
// too. The name of no folder fits one. An object named as a folder is in the way where a server keeps objects as files: at MinIO it
// hides what lies in the folder from listings, at versitygw nothing can be stored there any more. The patterns are few and wide: at
// versitygw the bucket's policy, for all users, may have 4 KiB.
func written() []string {
	return []string{"*.age", "*.html", "*.json", "*.zst", "canary/*/*", "points/*/*-*-*-*"}
}

// shaped moves the right to put objects into a statement of its own, for the names that a job stores, where the vendor's policies
// take patterns. Resources of the names begin with base.
func (p Profile) shaped(objects statement, base string) []statement {
	if !p.Shapes() || !slices.Contains(objects.Action, put) {
		return []statement{objects}
	}
	objects.Action = slices.DeleteFunc(slices.Clone(objects.Action), func(a string) bool { return a == put })
	s := statement{Sid: "Put", Effect: "Allow", Action: []string{put}}
	for _, name := range written() {
		s.Resource = append(s.Resource, base+name)
	}
	return []statement{objects, s}
}

// records allows what a role may do to records and reports, or nothing.
func (p Profile) records(has rights, base string) []statement {
	if len(has.reports) == 0 {
		return nil
	}
	s := statement{Sid: "Records", Effect: "Allow", Action: has.reports, Resource: []string{base + "reports/*"}}
	if p.Shapes() {
		s.Resource = []string{base + "reports/*/*.html", base + "reports/*/*.json"}
	}
	return []statement{s}
}

// Shapes reports whether a policy of the vendor can allow objects to be put under names of certain forms alone.
func (p Profile) Shapes() bool { return p.Policy.Shapes.Known() && p.Policy.Shapes.Value }
