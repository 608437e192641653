import Foundation
import Machine
import Testing

@testable import Management

/// `showvminfo --format json` and docs/showvminfo.schema.json, which is made of the same.
@Suite struct FactSchemaTests {
  private struct Schema: Decodable {
    struct Property: Decodable { var type: String }
    var properties: [String: Property]
    var patternProperties: [String: Property]

    func type(of key: String) -> String? {
      if let property = properties[key] { return property.type }
      return patternProperties.first { key.range(of: $0.key, options: .regularExpression) != nil }?.value.type
    }
  }

  @Test func everyFactHasTheTypeThatTheSchemaSays() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vmctl-schema-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var definition = VMDefinition(name: "box")
    definition.description = "of all kinds"
    try definition.set("uart-mode1", ["tcpserver", "0"])
    try definition.set("nic1", ["nat"])
    try definition.set("nat-pf1", ["ssh,tcp,,2222,,22"])
    try definition.set("nat-pf1", ["web,tcp,,8080,,80"])
    try definition.set("nic2", ["intnet"])
    try definition.hardware.addController(name: "IDE", bus: .ide)
    try definition.hardware.attach(
      .init(port: 1, device: 0, kind: .dvddrive, medium: nil), controller: "IDE", port: 1, device: 0)
    definition.hardware.cpuidOverrides = [.init(leaf: 7, subleaf: 0, registers: [0, 1, 2, 3])]
    let entry = try Registry(home: folder).create(definition)
    let values = VMFact.typed(try VMFacts.of(entry))
    let schema = try JSONDecoder().decode(Schema.self, from: Data(VMFact.schema.utf8))
    #expect(values.count > 40)
    for (key, value) in values {
      let type = schema.type(of: key)
      switch value {
      case .text: #expect(type == "string", "\(key)")
      case .number: #expect(type == "integer", "\(key)")
      case .flag: #expect(type == "boolean", "\(key)")
      case .list(let values):
        #expect(type == "array", "\(key)")
        #expect(!values.isEmpty)
      }
    }
    #expect(
      values["memory"] == .number(definition.hardware.memoryMB) && values["hpet"] == .flag(definition.hardware.hpet))
    #expect(values["Forwarding"] == .list([.text("ssh,tcp,,2222,,22"), .text("web,tcp,,8080,,80")]))
  }

  @Test func theFileInTheDocumentationIsThisSchema() throws {
    try WrittenPage.expect("showvminfo.schema.json", is: VMFact.schema, suite: "FactSchemaTests")
  }
}
