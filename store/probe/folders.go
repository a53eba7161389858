package probe

import "context"

// folders: whether the writer may put an object under a name that only a folder has. Where a server keeps objects as files that is
// in the way of all that belongs into the folder.
func (r *run) folders(ctx context.Context) {
	const check = "folder-names"
	const harm = "an object under the name of a folder, which hides a source's points from listings, or keeps new ones from being stored, where a server keeps objects as files"
	switch ans := r.Attacker.FinishFolder(ctx); {
	case ans.Denied():
		r.add(check, OK, "", "the writer may not put objects under names that folders have: "+ans.Outcome(), ans)
	case !r.vendor.MayPut(ans.Status, ans.Code):
		r.unknown(check, "the answer does not tell whether the writer may put objects under names that folders have: "+ans.Outcome(), ans)
	case r.vendor.Shapes():
		r.add(check, Warning, "give the writer the policy that `holdfast policy --vendor "+r.vendor.Name+" --role vault-writer` prints: in its statement Put stand the names that a job needs",
			"a thief of the writer's key could put "+harm+": "+ans.Outcome(), ans)
	default:
		r.add(check, Info, "", "a thief of the writer's key could put "+harm+"; no policy is known that bounds names here: "+ans.Outcome(), ans)
	}
}
