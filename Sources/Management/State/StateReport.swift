import Foundation
import SavedState
import Teleport

/// A machine's state for people and programs.
public struct StateReport: Codable, Equatable, Sendable {
  /// A part of the state.
  public struct Section: Codable, Equatable, Sendable {
    /// Which device's.
    public var name: String
    /// What kind of thing wrote it.
    public var kind: String
    /// Of what its fields mean.
    public var version: Int
    /// The fields; a text where they are no JSON.
    public var fields: StateValue
    /// Bytes of what is no field, such as video memory.
    public var blobBytes: Int?
    /// Their checksum, in hexadecimal.
    public var blobChecksum: String?

    init(_ section: StateSection) {
      (name, kind, version) = (section.name, section.kind, section.version)
      fields =
        (try? JSONDecoder().decode(StateValue.self, from: section.fields))
        ?? .text(String(decoding: section.fields, as: UTF8.self))
      guard !section.blob.isEmpty else { return }
      blobBytes = section.blob.count
      blobChecksum = section.blob.withUnsafeBytes { String(Checksum.of($0), radix: 16) }
    }
  }

  /// The build that wrote it.
  public var build: String
  /// Pages of memory, of 4096 bytes; nil: memory was not looked at.
  public var pages: Int?
  /// Of which so many are not zero.
  public var dataPages: Int?
  /// In the order of the state.
  public var sections: [Section]

  /// What there is to say of a state.
  public init(_ contents: StateContents) {
    build = contents.build
    sections = contents.sections.map(Section.init)
    guard !contents.pages.isEmpty else { return }
    pages = contents.pages.count
    dataPages = contents.pages.filter { $0 != PageChunkEncoder.zeroChecksum }.count
  }

  /// For people: a title for each section, and a line for each value.
  public var text: String {
    var lines = ["build: \(build)"]
    if let pages, let dataPages {
      lines.append("memory: \(pages) pages of 4096 bytes, \(dataPages) of them not zero")
    }
    for section in sections {
      lines += ["", "\(section.name) (\(section.kind), version \(section.version))"]
      lines += section.fields.lines().map { "  " + $0 }
      if let bytes = section.blobBytes { lines.append("  and \(bytes) bytes, checksum \(section.blobChecksum ?? "")") }
    }
    // A state is a file that anybody may have made.
    return lines.map { ForeignText.clean($0) }.joined(separator: "\n")
  }
}
