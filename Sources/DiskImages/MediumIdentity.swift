#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Which medium it is, and in which condition: what a teleport compares between two hosts, and a saved state with what it
/// finds when it goes on.
public struct MediumIdentity: Codable, Equatable, Sendable {
  /// With symbolic links resolved.
  public var path: String
  /// Bytes the guest sees.
  public var size: UInt64
  /// The number of the device that the file is on, for people: another host may number its devices otherwise.
  public var device: UInt64
  /// The file's number on its device, for people: two hosts have many files of one number.
  public var inode: UInt64
  /// When the file's content was changed last, in nanoseconds since 1970. nil for a block device.
  public var modified: Int64?
  /// When its inode was changed last, in nanoseconds since 1970: by a write, a new name, other permissions.
  public var changed: Int64?
  /// A block device: how much has been written to it since its host was started, a text that is equal only while nothing
  /// more has been written.
  public var writes: String?
  /// A block device: names that no other device has.
  public var deviceNames: [String]?
  /// What is written into the locks of the file, by this machine or by another that has it open.
  public var mark: UInt64?
  /// Where they have been taken.
  public var samples: MediumSamples?
  /// The format as which it is read, where that is not raw.
  public var format: String?
  /// What it is based on, the nearest first, each with samples; nil: nothing.
  public var bases: [MediumIdentity]?

  public init(path: String, size: UInt64, device: UInt64, inode: UInt64) {
    self.path = path
    self.size = size
    self.device = device
    self.inode = inode
  }

  // MARK: Two hosts

  /// Whether what the target of a teleport has is proved to be what the source has.
  ///
  /// Equal names, sizes and inode numbers prove nothing: each of two hosts can have such a file. A medium that the guest
  /// writes must be one and the same: the target sees the mark in the locks of its own file, or both are block devices
  /// of one name. A medium that is only read may be a copy: its samples are equal.
  /// - Returns: nil, or what is different or stays unproved.
  public func doubt(about theirs: MediumIdentity, isWritten: Bool) -> String? {
    guard size == theirs.size else { return "it has \(theirs.size) bytes instead of \(size)" }
    guard format == theirs.format else {
      return "it is read as \(theirs.format ?? "raw") instead of \(format ?? "raw")"
    }
    return ownDoubt(about: theirs, isWritten: isWritten) ?? basesDoubt(about: theirs)
  }

  /// What an image is based on is only read: it may be a copy.
  private func basesDoubt(about theirs: MediumIdentity) -> String? {
    let (ours, others) = (bases ?? [], theirs.bases ?? [])
    guard ours.count == others.count else { return "it stands on \(others.count) images instead of \(ours.count)" }
    for (one, other) in zip(ours, others) {
      if let doubt = one.doubt(about: other, isWritten: false) { return "what it is based on, \(other.path): \(doubt)" }
    }
    return nil
  }

  private func ownDoubt(about theirs: MediumIdentity, isWritten: Bool) -> String? {
    if let mark, mark == theirs.mark { return nil }
    if let names = deviceNames, let others = theirs.deviceNames, !Set(names).isDisjoint(with: others) { return nil }
    guard isWritten else {
      guard let samples, let others = theirs.samples else {
        return "its content is not told; use the same vmctl on both hosts"
      }
      return samples.firstDifference(from: others).map { "its content is another, at byte \($0) for one" }
    }
    guard mark != nil else { return "the source does not prove which one it has; use the same vmctl on both hosts" }
    if deviceNames != nil || theirs.deviceNames != nil {
      return "no name of a SCSI or NVMe device proves that both hosts have the same one"
    }
    if inode != theirs.inode {
      return "it is another file, inode \(theirs.inode) instead of \(inode)"
    }
    return "the source's lock is not seen on it, so it is another file, or its file system keeps locks to one host"
  }

  // MARK: Two moments

  /// What has happened to the medium since `saved` was noted, as far as it shows without reading it.
  ///
  /// Who restores or moves a file with its times (mv, cp -a, rsync -t) has kept the moment of its last write. One whose time
  /// of modification is another has been written, or is a copy of unknown age.
  /// - Returns: nil when nothing speaks against it.
  public func change(since saved: MediumIdentity) -> String? {
    guard size == saved.size else { return "it has \(size) bytes instead of \(saved.size)" }
    if let modified, let before = saved.modified, !Self.isSameTime(modified, before) {
      return "it was modified at \(Self.text(modified)), and when the state was saved that was \(Self.text(before))"
    }
    if let writes, let before = saved.writes, writes != before, Self.boot(writes) == Self.boot(before) {
      return "it has been written since"
    }
    if (modified == nil) != (saved.modified == nil) {
      return "it is a \(modified == nil ? "block device" : "file") now"
    }
    guard format == saved.format else { return "it is read as \(format ?? "raw") instead of \(saved.format ?? "raw")" }
    let (ours, before) = (bases ?? [], saved.bases ?? [])
    guard ours.count == before.count else { return "it stands on \(ours.count) images instead of \(before.count)" }
    for (now, old) in zip(ours, before) {
      if let change = now.change(since: old) { return "what it is based on, \(now.path): \(change)" }
    }
    return nil
  }

  /// Some file systems and archives keep whole seconds only.
  private static func isSameTime(_ now: Int64, _ before: Int64) -> Bool {
    now == before || (now % 1_000_000_000 == 0 && now / 1_000_000_000 == before / 1_000_000_000)
  }

  private static func boot(_ writes: String) -> Substring { writes.prefix { $0 != " " } }

  /// ISO 8601, UTC, with nanoseconds.
  private static func text(_ time: Int64) -> String {
    var seconds = time_t(time / 1_000_000_000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    let fraction = String(1_000_000_000 + time % 1_000_000_000).dropFirst()
    return
      "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T\(two(parts.tm_hour)):\(two(parts.tm_min)):"
      + "\(two(parts.tm_sec)).\(fraction)Z"
  }
}
