//! What the provider and the simulated outside say to each other without sharing a line of code.

use portreeve::clock::Timestamp;
use portreeve::ids::{AccountId, OperationId, ResourceId};
use portreeve::resource::drivers::{Driver as _, Outcome, StaticDriver, Work};
use portreeve::simulator::api_key;
use serde_json::{Value, json};

#[tokio::test]
async fn the_static_driver_makes_the_keys_that_the_demo_platform_takes() {
    let now = Timestamp::from_seconds(1_800_000_000);
    let key: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let driver = StaticDriver::new(&key, None).unwrap();
    let Value::Object(settings) = json!({"credentials": {"API_KEY": "wx_{resource_id}.{mac}"}}) else { panic!() };
    let work = Work {
        operation_id: OperationId::new(now),
        resource_id: ResourceId::new(now),
        account_id: AccountId::new(now),
        service: "weather".to_owned(),
        plan: "metered".to_owned(),
        settings,
        configuration: Value::Null,
        generation: 0,
    };
    let Outcome::Done(made) = driver.create(&work).await else { panic!("the static driver is done at once") };
    assert_eq!(made.expose()["API_KEY"], api_key(&key, work.resource_id.as_str()).expose());
}
