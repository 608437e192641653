import DiskImages
import Foundation

/// A copy of a disk image that no machine writes meanwhile, with progress.
struct ImageCopy {
  private let path: String
  /// Keeps writers out while it is open.
  private let image: any DiskImage
  private let source: Int32
  /// It stands on others, which the copy does not: it gets what the guest sees.
  private let isFlattened: Bool
  /// Bytes that the guest sees.
  let size: UInt64

  /// Opens an image that no machine writes from now on.
  /// - Parameter format: nil: raw, and refused if it looks otherwise.
  /// - Throws: `DiskImageError`, `.inUse` for one that a running machine writes.
  init(of path: String, format: ImageFormat?) throws {
    self.path = path
    image = try ImageChain.open(path: path, format: format, readOnly: true)
    try image.lock()
    size = image.size
    isFlattened = (image as? Qcow2Image).map { $0.files.count > 1 } ?? false
    source = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard source >= 0 else { throw ManagementError.system("cannot open \(path)") }
  }

  /// Ends the copying; to be called once.
  func close() {
    Glibc.close(source)
    image.unlock()
  }

  /// - Parameter progress: is told how many bytes of the image have been passed; what it throws ends the copying.
  /// - Throws: `ManagementError`; then there is no file.
  func write(to target: String, progress: (UInt64) throws -> Void) throws {
    if isFlattened { return try flatten(to: target, progress) }
    let file = open(target, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw ManagementError.system("cannot make \(target)") }
    defer { Glibc.close(file) }
    do {
      try SparseCopy.fill(file, from: source, path, progress) { failed(target) }
      guard fsync(file) == 0 else { throw failed(target) }
      try progress(size)
    } catch {
      unlink(target)
      throw error
    }
  }

  /// An image of its own with the same content.
  private func flatten(to target: String, _ progress: (UInt64) throws -> Void) throws {
    try Qcow2Image.create(path: target, size: size)
    do {
      let copy = try Qcow2Image(path: target)
      let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 4096)
      defer { piece.deallocate() }
      var position: UInt64 = 0
      while position < size {
        let part = UnsafeMutableRawBufferPointer(
          rebasing: piece[..<Int(min(UInt64(piece.count), size - position))])
        try image.read(at: position, into: part)
        if !part.allSatisfy({ $0 == 0 }) { try copy.write(at: position, from: UnsafeRawBufferPointer(part)) }
        position += UInt64(part.count)
        try progress(position)
      }
      try copy.flush()
      guard chmod(target, 0o600) == 0 else { throw ManagementError.system("cannot make \(target)") }
    } catch {
      unlink(target)
      throw error
    }
  }

  private func failed(_ target: String) -> ManagementError {
    ManagementError.system(
      "cannot copy \(path) to \(target)", remedy: "free some space, or choose another --basefolder")
  }
}

/// Copies of images: holes stay holes, and where the file system lets files share their blocks nothing is copied.
enum SparseCopy {
  /// ioctl_ficlone(2).
  private static let shareBlocks: UInt = 0x4004_9409
  // lseek(2): the next byte that is no hole, and the next that is.
  private static let seekData: Int32 = 3
  private static let seekHole: Int32 = 4
  private static let pieceBytes = 1 << 20

  /// Copies a file as it is.
  /// - Throws: `ManagementError` with the system's reason.
  static func make(of source: String, at copy: String) throws {
    let from = open(source, O_RDONLY | O_CLOEXEC)
    guard from >= 0 else { throw ManagementError.system("cannot read \(source)") }
    defer { close(from) }
    let to = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard to >= 0 else { throw ManagementError.system("cannot write \(copy)") }
    defer { close(to) }
    try fill(to, from: from, source) {
      ManagementError.system(
        "cannot copy \(source) to \(copy)", remedy: "make room there, or set TMPDIR to a folder with more")
    }
  }

  /// Gives an empty file the content of another.
  /// - Parameters:
  ///   - path: of the source.
  ///   - progress: is told how many bytes have been passed; what it throws ends the copying.
  ///   - failed: why the file could not be written, by `errno`.
  /// - Throws: `ManagementError`, or what `progress` throws.
  static func fill(
    _ file: Int32, from source: Int32, _ path: String, _ progress: (UInt64) throws -> Void = { _ in },
    failed: () -> ManagementError
  ) throws {
    if ioctl(file, shareBlocks, source) == 0 { return }
    let end = lseek(source, 0, SEEK_END)
    guard end >= 0, ftruncate(file, off_t(end)) == 0 else { throw failed() }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceBytes, alignment: 4096)
    defer { buffer.deallocate() }
    var position: off_t = 0
    while position < end {
      guard let data = nextData(source, from: position, end) else { break }
      position = data.lowerBound
      while position < data.upperBound {
        let count = pread(source, buffer.baseAddress, min(pieceBytes, Int(data.upperBound - position)), position)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { throw ManagementError.system("cannot read \(path)", count == 0 ? EIO : errno) }
        var done = 0
        while done < count {
          let written = pwrite(file, buffer.baseAddress! + done, count - done, position + off_t(done))
          if written < 0 && errno == EINTR { continue }
          guard written > 0 else { throw failed() }
          done += written
        }
        position += off_t(count)
        try progress(UInt64(position))
      }
    }
  }

  /// The next part of the file that is no hole. What cannot tell its holes, a block device for one, is all data.
  private static func nextData(_ source: Int32, from position: off_t, _ end: off_t) -> Range<off_t>? {
    let first = lseek(source, position, seekData)
    if first < 0 { return errno == ENXIO ? nil : position..<end }
    let hole = lseek(source, first, seekHole)
    return first..<(hole > first ? hole : end)
  }
}
