/// Formats of images that machines can have.
public enum ImageFormat: String, Codable, CaseIterable, Sendable { case raw, qcow2 }

/// Opens images by their format, with what they are based on.
///
/// A raw image is never taken for another format by its content alone: a guest can write there what it likes, such as the
/// header of an image that is based on a file of the host's.
public struct ImageChain {
  /// How many images may stand on each other.
  static let depthLimit = 64
  private var seen: Set<MediumFile.Number> = []

  init() {}

  /// An image in its format, without locking it.
  /// - Parameter format: nil: raw, and an image that looks like another format is refused.
  public static func open(
    path: String, format: ImageFormat?, readOnly: Bool
  ) throws(DiskImageError) -> any DiskImage {
    switch format {
    case .qcow2: try Qcow2Image(path: path, readOnly: readOnly)
    case .raw, nil: try RawImage(path: path, readOnly: readOnly, insists: format == .raw)
    }
  }

  /// The files that an image is made of, itself first: what it is based on is named in it. What cannot be read ends the list.
  public static func files(of path: String, format: ImageFormat?) -> [String] {
    guard format == .qcow2 else { return [path] }
    var files = [path]
    var next: String? = path
    while let current = next, files.count <= depthLimit {
      next = nil
      guard let file = try? MediumFile(path: current, readOnly: true), let header = try? Qcow2Header(readFrom: file),
        let name = header.backingFile, let base = try? place(of: name, from: current)
      else { break }
      files.append(base)
      if header.backingFormat == ImageFormat.qcow2.rawValue { next = base }
    }
    return files
  }

  mutating func add(_ file: MediumFile) throws(DiskImageError) {
    guard seen.insert(file.number).inserted else {
      throw .corrupt(path: file.path, what: "it is based on itself")
    }
    guard seen.count <= Self.depthLimit else {
      throw .unsupported(path: file.path, feature: "more than \(Self.depthLimit) images above it")
    }
  }

  /// What an image is based on, to be read only; nil: nothing.
  mutating func openBase(of header: Qcow2Header, _ path: String) throws(DiskImageError) -> (any DiskImage)? {
    guard let name = header.backingFile else { return nil }
    let place = try Self.place(of: name, from: path)
    do throws(DiskImageError) {
      let file = try MediumFile(path: place, readOnly: true)
      switch header.backingFormat {
      case ImageFormat.qcow2.rawValue: return try Qcow2Image(file, &self)
      case ImageFormat.raw.rawValue:
        try add(file)
        return try RawImage(file, insists: true)
      case nil:
        if let format = try file.foreignFormat() {
          throw DiskImageError.backingFormat(path: place, of: path, format: format)
        }
        try add(file)
        return try RawImage(file, insists: false)
      case let other?:
        throw DiskImageError.unsupported(path: place, feature: "the format \(other.prefix(16))")
      }
    } catch {
      switch error {
      case .backing, .backingFormat: throw error
      case .corrupt(_, let what): throw .backing(path: place, of: path, reason: what)
      default: throw .backing(path: place, of: path, reason: "\(error)")
      }
    }
  }

  /// A relative name is meant from the folder of the image on that has it, as that is named.
  static func place(of name: String, from path: String) throws(DiskImageError) -> String {
    var name = name
    if name.hasPrefix("file:") {
      name.removeFirst(5)
    } else if let colon = name.firstIndex(of: ":"), !name[..<colon].contains("/") {
      throw .unsupported(path: path, feature: "a base that is no file (\(name.prefix(80)))")
    }
    if name.hasPrefix("/") { return name }
    guard let slash = path.lastIndex(of: "/") else { return name }
    return path[...slash] + name
  }
}
