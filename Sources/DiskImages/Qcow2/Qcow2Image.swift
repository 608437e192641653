import Foundation

/// A disk image in the format qcow2, alone or based on others.
///
/// What it is based on is held shared as long as it is held itself, and never written. Its tables are read anew whenever it
/// is taken: until then another process may have changed them, as the source of a teleport does.
public final class Qcow2Image: DiskImage, @unchecked Sendable {
  public var path: String { file.path }
  public let size: UInt64
  public var isReadOnly: Bool { file.isReadOnly }
  public var hold: MediumHold { file.hold }
  let file: MediumFile
  /// What it is based on: a raw image or another of these, which is read only.
  let base: (any DiskImage)?
  private let journal = ImageJournal()
  /// Guards what follows.
  private let mutex = NSLock()
  private var volume: Qcow2Volume
  /// Writes what rests in memory before long, though the guest does not flush.
  private var isWriteDue = false
  private var chainSamples: (identity: MediumIdentity, samples: MediumSamples)?

  /// Seconds after which what rests in memory is written.
  private static let restSeconds = 5

  public func onFailure(_ body: @escaping @Sendable (DiskImageError) -> Void) { journal.onFailure(body) }
  public func note(failure: DiskImageError) { journal.note(failure: failure) }

  /// Opens an image and all that it is based on, without locking.
  public convenience init(path: String, readOnly: Bool = false) throws(DiskImageError) {
    var chain = ImageChain()
    try self.init(MediumFile(path: path, readOnly: readOnly), &chain)
  }

  init(_ file: MediumFile, _ chain: inout ImageChain) throws(DiskImageError) {
    self.file = file
    try chain.add(file)
    let header = try Qcow2Header(readFrom: file)
    base = try chain.openBase(of: header, file.path)
    volume = try Qcow2Volume(file, header: header, backing: base.map(BaseContent.init), isReadOnly: file.isReadOnly)
    size = volume.size
  }

  /// Makes an empty image. Refuses to overwrite.
  /// - Parameters:
  ///   - size: bytes, a positive multiple of 512; nil: as many as what it is based on has.
  ///   - base: what it is based on, with its format; relative paths are meant from the new image's folder on.
  public static func create(
    path: String, size: UInt64?, base: (path: String, format: ImageFormat)? = nil
  ) throws(DiskImageError) {
    var header = Qcow2Header()
    if let base {
      var chain = ImageChain()
      header.backingFile = base.path
      header.backingFormat = base.format.rawValue
      header.virtualSize = try chain.openBase(of: header, path)?.size ?? 0
    }
    if let size { header.virtualSize = size }
    guard header.virtualSize > 0, header.virtualSize % 512 == 0, header.virtualSize <= UInt64(Int64.max) - 511 else {
      throw .badSize(path: path, bytes: header.virtualSize)
    }
    let file = try MediumFile.create(path: path)
    do throws(DiskImageError) {
      try Qcow2Volume.create(header, on: file)
    } catch {
      unlink(path)
      throw error
    }
  }

  // MARK: What it is

  public var identity: MediumIdentity {
    var identity = file.identity(size: size)
    identity.format = ImageFormat.qcow2.rawValue
    if let base {
      let below = base.identity
      identity.bases = [sampled(below, of: base)] + (below.bases ?? [])
      identity.bases?[0].bases = nil
    }
    return identity
  }

  /// With samples, since a base may be a copy on another host. They hold as long as it is not written.
  private func sampled(_ identity: MediumIdentity, of base: any DiskImage) -> MediumIdentity {
    var key = identity
    key.mark = nil
    key.bases = nil
    let known: MediumSamples? = mutex.withLock { chainSamples?.identity == key ? chainSamples?.samples : nil }
    var result = identity
    result.samples = known ?? (try? base.samples(.many))
    if known == nil, let samples = result.samples { mutex.withLock { chainSamples = (key, samples) } }
    return result
  }

  /// The files that it is made of, itself first.
  public var files: [String] { [path] + (base.map { ($0 as? Qcow2Image)?.files ?? [$0.path] } ?? []) }

  /// The snapshots of other programs in it.
  public var internalSnapshots: Int { mutex.withLock { volume.header.snapshotCount } }

  // MARK: Data

  private func check(_ offset: UInt64, _ length: UInt64) throws(DiskImageError) {
    guard offset <= size, length <= size - offset else {
      throw .outOfRange(path: path, offset: offset, length: Int(clamping: length))
    }
  }

  private func locked<T>(_ body: () throws(DiskImageError) -> T) throws(DiskImageError) -> T {
    mutex.lock()
    defer { mutex.unlock() }
    return try body()
  }

  public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    try check(offset, UInt64(buffer.count))
    try locked { () throws(DiskImageError) in try volume.read(at: offset, into: buffer) }
  }

  public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    try change(at: offset, count: UInt64(buffer.count)) { volume throws(DiskImageError) in
      try volume.write(at: offset, from: buffer)
    }
  }

  public func discard(at offset: UInt64, count: UInt64) throws(DiskImageError) {
    try change(at: offset, count: count) { volume throws(DiskImageError) in
      try volume.discard(at: offset, count: count)
    }
  }

  public func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(DiskImageError) {
    try change(at: offset, count: count) { volume throws(DiskImageError) in
      try volume.writeZeroes(at: offset, count: count, mayUnmap: mayUnmap)
    }
  }

  private func change(
    at offset: UInt64, count: UInt64, _ body: (Qcow2Volume) throws(DiskImageError) -> Void
  ) throws(DiskImageError) {
    guard !isReadOnly else { throw .readOnly(path: path) }
    try check(offset, count)
    journal.noteWrite(at: offset, count: Int(clamping: count))
    try locked { () throws(DiskImageError) in
      if volume.header.incompatible.contains(.dirty) { try Qcow2Check.repair(volume) }
      try body(volume)
      guard !isWriteDue, !volume.isClean else { return }
      isWriteDue = true
      DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(Self.restSeconds)) { [weak self] in
        self?.writeRest()
      }
    }
  }

  /// A guest without the word for flushing is not to lose more than it would by a disk's own cache.
  private func writeRest() {
    mutex.withLock {
      isWriteDue = false
      if !volume.isClean { try? volume.flush() }
    }
  }

  public func flush() throws(DiskImageError) {
    try locked { () throws(DiskImageError) in try volume.flush() }
  }

  public var recentlyWritten: [UInt64] { journal.recentlyWritten }
  public func noteWritten(blocks: [UInt64]) { journal.noteWritten(blocks: blocks) }

  // MARK: The lock

  public func lock() throws(DiskImageError) { try take(.exclusive) }
  public func share() throws(DiskImageError) { try take(.shared) }

  private func take(_ wanted: MediumHold) throws(DiskImageError) {
    try locked { () throws(DiskImageError) in
      let before = hold
      // Who takes it next reads it from the file.
      if before != .none, wanted == .shared, !volume.isClean { try volume.flush() }
      try file.take(wanted)
      guard before == .none else { return }
      do throws(DiskImageError) {
        try base?.share()
        try readAnew()
      } catch {
        base?.unlock()
        file.release()
        throw error
      }
    }
  }

  /// Nobody else changes it from here on.
  private func readAnew() throws(DiskImageError) {
    let header = try Qcow2Header(readFrom: file)
    guard header.backingFile == volume.header.backingFile, header.backingFormat == volume.header.backingFormat,
      header.virtualSize == volume.header.virtualSize
    else { throw .replaced(path: path) }
    volume = try Qcow2Volume(file, header: header, backing: base.map(BaseContent.init), isReadOnly: isReadOnly)
  }

  public func unlock() {
    mutex.withLock {
      if hold != .none {
        do throws(DiskImageError) {
          try volume.flush()
        } catch {
          // What did not come to the file must not come to it when it is another machine's.
          volume.abandon(error)
        }
      }
      file.release()
      base?.unlock()
    }
  }

  public func setMark(_ mark: UInt64?) throws(DiskImageError) { try file.setMark(mark) }

  // MARK: As a whole

  /// What a stretch of the image is.
  public enum Stretch: Sendable {
    /// What it is based on shows through.
    case below
    case zero, data
  }

  /// What is at `position`, a multiple of 64 KiB or the like, and how many bytes of it there are in a row: `most` or fewer.
  public func ownStretch(at position: UInt64, most: UInt64) throws(DiskImageError) -> (kind: Stretch, count: UInt64) {
    try check(position, 1)
    return try locked { () throws(DiskImageError) in
      try volume.ownStretch(at: position, most: min(most, size - position))
    }
  }

  /// Fails where another process has it.
  public func probe() throws(DiskImageError) {
    try file.take(.exclusive)
    file.release()
  }

  /// Says that it is based on another image, with the same content. It is to be held alone, and opened anew to be used.
  public func changeBase(to name: String, _ format: ImageFormat) throws(DiskImageError) {
    try locked { () throws(DiskImageError) in try volume.changeBase(to: name, format) }
  }

  /// Gives the guest more bytes. It is to be held alone.
  public func grow(to size: UInt64) throws(DiskImageError) {
    try locked { () throws(DiskImageError) in try volume.grow(to: size) }
  }

  /// Gives the host back what holds zeros. It is to be held alone.
  /// - Throws: `DiskImageError`, or what `progress` throws.
  public func compact(_ progress: (UInt64) throws -> Void = { _ in }) throws {
    try mutex.withLock { try volume.compact(progress) }
  }

  /// Clusters that are lost, and such that may be used for two things. Both are 0 in a sound image.
  public func problems() throws(DiskImageError) -> (leaks: Int, corruptions: Int) {
    try locked { () throws(DiskImageError) in
      let findings = try Qcow2Check.check(volume)
      return (findings.leaks, findings.corruptions)
    }
  }
}

/// A base as its image reads it.
private final class BaseContent: BackingContent {
  private let image: any DiskImage
  init(_ image: any DiskImage) { self.image = image }
  var size: UInt64 { image.size }
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    try image.read(at: offset, into: buffer)
  }
}
