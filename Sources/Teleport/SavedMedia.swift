import DiskImages
import Machine

/// The media that a saved state was taken with, beside those that the machine has now.
struct SavedMedia {
  let saved: [HardwareDescription.StorageSlot]
  let present: [HardwareDescription.StorageSlot]

  private func pairs(_ isWanted: (HardwareDescription.StorageSlot) -> Bool)
    -> [(saved: HardwareDescription.StorageSlot, now: HardwareDescription.StorageSlot)]
  {
    saved.filter(isWanted).compactMap { slot in present.first { $0.place == slot.place }.map { (slot, $0) } }
  }

  /// The hard disks that are not as the guest left them, each with what shows it.
  /// - Parameter areOthers: they are other files with the same content; that alone is looked at.
  func changedDisks(in vm: some TeleportableMachine, areOthers: Bool) throws -> [String] {
    var changes: [String] = []
    var samples: [MediumSample] = []
    for (saved, now) in pairs({ $0.kind == .hdd }) {
      guard let before = saved.medium, let medium = now.medium else { continue }
      let place = "the disk \(medium.path) (port \(saved.port) device \(saved.device))"
      if before.modified == nil && before.writes == nil && before.samples == nil {
        // A state of an older build says no more than this.
        if before.inode != medium.inode && before.path != medium.path { changes.append("\(place) is another file") }
      } else if !areOthers || !saved.isWritten, let change = medium.change(since: before) {
        changes.append("\(place) has changed: \(change)")
      } else if !saved.isWritten, let old = before.samples, let new = medium.samples,
        let offset = new.firstDifference(from: old)
      {
        changes.append("\(place) has changed: its content is another, at byte \(offset) for one")
      }
      if saved.isWritten, let old = before.samples { samples.append(MediumSample(place: saved.place, samples: old)) }
    }
    // A state of an older build has no samples, and one with disks has them all.
    if changes.isEmpty, !samples.isEmpty, let difference = try vm.mediaDifference(from: samples, in: [.hdd]) {
      changes.append(difference)
    }
    return changes
  }

  struct Disc {
    var place: HardwareDescription.StorageSlot.Place
    /// For people.
    var now: String
    var isFloppy: Bool

    var drive: String {
      isFloppy
        ? "floppy drive \(place.device == 0 ? "A" : "B")"
        : "CD-ROM drive at port \(place.port) device \(place.device)"
    }
  }

  /// The CD-ROM and floppy drives whose disc is another than the guest knows, was written since, or has come or gone.
  var replacedDiscs: [Disc] {
    pairs { $0.kind.isRemovable }.compactMap { saved, now in
      let isSame =
        switch (saved.medium, now.medium) {
        case (nil, nil): true
        case (let old?, let new?) where saved.isWritten: new.change(since: old) == nil && new.path == old.path
        case (let old?, let new?): old.size == new.size && (old.samples == nil || old.samples == new.samples)
        default: false
        }
      return isSame
        ? nil : Disc(place: saved.place, now: now.medium.map { $0.path } ?? "no disc", isFloppy: saved.kind == .fdd)
    }
  }
}

/// A saved state whose disks have changed since: the guest holds in its memory what it knew of them (free space, file
/// tables), and would write over what is there now.
public struct ChangedMediaError: Error, CustomStringConvertible, Sendable {
  /// What has happened, a disk each.
  public var changes: [String]

  public var description: String {
    "the saved state does not fit its disks any more, and is kept: \(changes.joined(separator: "; "))"
  }
}
