/// A medium as a drive sees it: bytes that can be read and written in whole sectors.
///
/// Reads and writes may be called from any thread, but by one at a time for a range of bytes. They block. The part of the last
/// sector that the file lacks reads as zero.
public protocol DiskImage: ByteStorage {
  /// Where the medium lies on the host, as it was named.
  var path: String { get }
  /// Bytes the guest sees: the file's length rounded up to a whole sector of 512.
  var size: UInt64 { get }
  var isReadOnly: Bool { get }
  /// What a teleport and a saved state compare, as it is now.
  var identity: MediumIdentity { get }
  /// The blocks of `MediumSamples` that were written last through this image, at most `MediumSamples.recentBlocks` of
  /// them, the oldest first.
  var recentlyWritten: [UInt64] { get }

  /// The content of these bytes, whole sectors, is of no use any more. They may read as zeros afterwards, or as before.
  func discard(at offset: UInt64, count: UInt64) throws(DiskImageError)
  /// Makes these bytes, whole sectors, read as zeros. Without `mayUnmap` the host's storage for them stays allocated, where
  /// it can.
  func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(DiskImageError)
  /// Returns once everything written is on stable storage.
  func flush() throws(DiskImageError)

  /// Takes the medium for this machine: exclusively for a writer, shared for readers. Apart from opening, so that it
  /// can pass from one process to another in a teleport. Taking it twice is taking it once. What is held shared becomes
  /// exclusive at one blow, or stays as it is when somebody else shares it.
  func lock() throws(DiskImageError)
  /// Takes the medium shared, or lets others share what is held exclusively. At no moment is it free in between.
  func share() throws(DiskImageError)
  /// Gives the medium up, so that another machine can take it. The image stays open.
  func unlock()
  var hold: MediumHold { get }
  /// Writes a number, which is not 0, into the locks of the file, where whoever has opened the same file finds it in his
  /// `identity`; nil takes it away, as `unlock` does. Nothing of the medium is changed.
  func setMark(_ mark: UInt64?) throws(DiskImageError)
  /// Has each request that fails from now on told, on the thread that did it.
  func onFailure(_ body: @escaping @Sendable (DiskImageError) -> Void)
  /// A request of the guest's has failed on the host.
  func note(failure: DiskImageError)
  /// Takes over what `recentlyWritten` was in another process.
  func noteWritten(blocks: [UInt64])
}

extension DiskImage {
  /// Nobody is told.
  public func onFailure(_ body: @escaping @Sendable (DiskImageError) -> Void) {}
  /// Nobody is told.
  public func note(failure: DiskImageError) {}
  /// Keeps what is there.
  public func discard(at offset: UInt64, count: UInt64) throws(DiskImageError) {}

  public func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(DiskImageError) {
    try fillWithZeros(at: offset, count: count)
  }

  /// Writes zeros, piece by piece.
  func fillWithZeros(at offset: UInt64, count: UInt64) throws(DiskImageError) {
    let zeros = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(min(count, 1 << 20)), alignment: 16)
    defer { zeros.deallocate() }
    zeros.initializeMemory(as: UInt8.self, repeating: 0)
    var done: UInt64 = 0
    while done < count {
      let part = Int(min(count - done, UInt64(zeros.count)))
      try write(at: offset + done, from: UnsafeRawBufferPointer(rebasing: zeros[..<part]))
      done += UInt64(part)
    }
  }

  /// Sectors of 512 bytes.
  public var sectorCount: UInt64 { size / 512 }
  /// The process holds it, alone or shared.
  public var isLocked: Bool { hold != .none }
}

/// What a machine has of a medium. While it has any of it, nobody else has it exclusively; while it has it exclusively,
/// nobody else has any of it.
public enum MediumHold: Sendable { case none, shared, exclusive }

/// What is wrong with a medium, and what to do.
public enum DiskImageError: Error, Equatable, CustomStringConvertible, Sendable {
  case notFound(path: String)
  case notAllowed(path: String)
  case readOnly(path: String)
  case notAFile(path: String)
  case empty(path: String)
  case alreadyExists(path: String)
  case inUse(path: String)
  case noSpace(path: String)
  case badSize(path: String, bytes: UInt64)
  case outOfRange(path: String, offset: UInt64, length: Int)
  /// It is an image, but not a raw one.
  case foreign(path: String, format: ForeignFormat)
  /// The image's own tables cannot be right.
  case corrupt(path: String, what: String)
  /// The image needs something that is not there.
  case unsupported(path: String, feature: String)
  /// What the image is based on cannot be used.
  case backing(path: String, of: String, reason: String)
  /// What the image is based on has no format written down, and looks like one that is not raw.
  case backingFormat(path: String, of: String, format: ForeignFormat)
  /// It is not what it was when it was opened.
  case replaced(path: String)
  case host(path: String, operation: String, reason: String)

  public var description: String {
    switch self {
    case .notFound(let path): "there is no medium at \(path)"
    case .notAllowed(let path): "permission denied on \(path); change its permissions or attach it as readonly"
    case .readOnly(let path): "\(path) is open for reading only"
    case .notAFile(let path): "\(path) is neither a file nor a block device"
    case .empty(let path): "\(path) is empty; a medium has at least one byte"
    case .alreadyExists(let path): "\(path) exists already; choose another name or remove it first"
    case .inUse(let path): "\(path) is in use by another running machine; stop that one, or detach the medium from one"
    case .noSpace(let path): "no space left on the host's disk for \(path); free some"
    case .badSize(let path, let bytes): "\(bytes) bytes is no size for \(path); give a positive multiple of 512"
    case .outOfRange(let path, let offset, let length):
      "\(length) bytes at \(offset) lie outside of \(path)"
    case .foreign(let path, let format):
      "\(path) is in the format \(format.name), and a guest that took it as a raw disk would destroy it"
    case .corrupt(let path, let what): "\(path) is damaged: \(what); see qemu-img check \(ShellWord.quote(path))"
    case .unsupported(let path, let feature): "\(path) has \(feature), which is not supported here"
    case .backing(let path, let image, let reason): "\(image) is based on \(path), which cannot be used: \(reason)"
    case .backingFormat(let path, let image, let format):
      "\(image) is based on \(path) and does not say in which format that is; if it is to be read as \(format.name), say so with "
        + "qemu-img rebase -u -F \(format.rawValue) -b \(ShellWord.quote(path)) \(ShellWord.quote(image))"
    case .replaced(let path): "\(path) is based on another image now than when it was opened; start again"
    case .host(let path, let operation, let reason): "cannot \(operation) \(path): \(reason)"
    }
  }
}
